import { status } from '@grpc/grpc-js'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { serveContainerd } from '../../src/grpc/server.ts'
import { NO_LAZY_LAYERS } from '../../src/snapshots/lazy-layers.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { snapshotsClient } from '../suites/snapshots-client.ts'
import { snapshotterSuite } from '../suites/snapshotter-suite.ts'

snapshotterSuite('over gRPC', {
  isInvalidArgument: (error) => (error as { code?: number } | null)?.code === status.INVALID_ARGUMENT,
  start: async (root) => {
    const snapshotters = await Snapshotters.open({ root, layers: NO_LAZY_LAYERS, log: silentLog })
    const server = await serveContainerd({ address: join(root, 's.sock'), snapshotters, log: silentLog })
    const snapshotter = snapshotsClient(server.address, 'testsuite')
    return {
      snapshotter,
      stop: async () => {
        await snapshotter.close()
        await server.stop()
        await snapshotters.close()
      }
    }
  }
})
