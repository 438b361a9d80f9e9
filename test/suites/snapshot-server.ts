// A snapshotter in a process of its own, for tests that kill it: node test/suites/snapshot-server.ts ROOT SOCKET LAYERS,
// where LAYERS is JSON: chain ID → directory. Prints "serving" once it does.
import { createLog } from '../../src/base/log.ts'
import { serveContainerd } from '../../src/grpc/server.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { BindLayers } from './bind-layers.ts'

const [root = '', address = '', layers = '{}'] = process.argv.slice(2)
const log = createLog('warn')
const snapshotters = await Snapshotters.open({
  root, log, layers: new BindLayers(Object.entries(JSON.parse(layers) as Record<string, string>))
})
const server = await serveContainerd({ address, snapshotters, log })
process.once('SIGTERM', () => {
  void server.stop().then(async () => { await snapshotters.close() })
})
process.stdout.write('serving\n')
