// Whether mounts with shifted ids can be made on this node: by its kernel, on layers of its driver, by its containerd. Asked
// when a container in a user namespace is prepared, so that it hears the reason and not an errno of mount(2).
import { release } from 'node:os'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { ContainerdClient } from '../grpc/containerd-client.ts'
import type { RequireShifting } from '../snapshots/id-mapping.ts'

const CONTAINERD_MAJOR = 2 // core/mount: options uidmap and gidmap
const KERNEL = [5, 19] as const // overlayfs on idmapped lower layers, and idmapped mounts of EROFS
const HINT = 'leave out --remap-labels, and the capability remap-ids from the plugin: the client then makes a shifted copy of the image'

interface Parts {
  /** Of the driver in use. */
  readonly driver: string
  readonly containerdAddress: string
  readonly log: Log
}

export function requireShifting ({ driver, containerdAddress, log }: Parts, kernel = release()): RequireShifting {
  return async (onLazyLayers) => {
    if (!knowsIdmappedLayers(kernel)) {
      throw new SnapshotterError('ENVIRONMENT', `Linux ${kernel} cannot shift the ids of an overlay's layers, ${KERNEL.join('.')} can; ${HINT}`)
    }
    if (onLazyLayers && driver === 'fuse') {
      throw new SnapshotterError('UNSUPPORTED', `ids cannot be shifted on layers of the mount driver fuse, only of erofs and erofs-loop; ${HINT}`)
    }
    const version = await versionOf(containerdAddress, log)
    if (version !== null && parseInt(version.replace(/^v/, ''), 10) < CONTAINERD_MAJOR) {
      throw new SnapshotterError('UNSUPPORTED', `containerd ${version} cannot mount with shifted ids, ${CONTAINERD_MAJOR}.0 can; ${HINT}`)
    }
  }
}

function knowsIdmappedLayers (kernel: string): boolean {
  const [major = 0, minor = 0] = kernel.split('.', 2).map(Number)
  return major > KERNEL[0] || (major === KERNEL[0] && minor >= KERNEL[1])
}

/** Null when it does not say: then the mount shows. */
async function versionOf (address: string, log: Log): Promise<string | null> {
  const client = new ContainerdClient({ address, namespace: 'default' })
  try {
    return await client.version()
  } catch (error) {
    log.warn({ error: asSnapshotterError(error).line }, 'containerd\'s version is not known')
    return null
  } finally {
    client.close()
  }
}
