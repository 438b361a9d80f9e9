// Loads the wire contracts of proto/ at run time, once per process.
import { type GrpcObject, loadPackageDefinition, logVerbosity, type ServiceClientConstructor, setLogVerbosity } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { join } from 'node:path'

const FOLDER = join(import.meta.dirname, '../../proto')
const FILES = ['snapshots', 'content', 'images', 'leases', 'containers', 'tasks', 'namespaces', 'introspection', 'version', 'health'] as const

const SERVICES = {
  snapshots: 'containerd.services.snapshots.v1.Snapshots',
  content: 'containerd.services.content.v1.Content',
  images: 'containerd.services.images.v1.Images',
  leases: 'containerd.services.leases.v1.Leases',
  containers: 'containerd.services.containers.v1.Containers',
  tasks: 'containerd.services.tasks.v1.Tasks',
  namespaces: 'containerd.services.namespaces.v1.Namespaces',
  introspection: 'containerd.services.introspection.v1.Introspection',
  version: 'containerd.services.version.v1.Version',
  health: 'grpc.health.v1.Health'
} as const

export type ServiceName = keyof typeof SERVICES

// What goes wrong comes back as an error; grpc-js would print it too, past our log.
setLogVerbosity(logVerbosity.NONE)

let loaded: GrpcObject | null = null

/** Client constructor and, as `.service`, the definition that a server implements. */
export function serviceOf (name: ServiceName): ServiceClientConstructor {
  loaded ??= loadPackageDefinition(loadSync(FILES.map((file) => join(FOLDER, `${file}.proto`)), {
    includeDirs: [FOLDER],
    longs: Number,
    enums: String,
    defaults: true
  }))
  let found: unknown = loaded
  for (const part of SERVICES[name].split('.')) found = (found as GrpcObject)[part]
  return found as ServiceClientConstructor
}
