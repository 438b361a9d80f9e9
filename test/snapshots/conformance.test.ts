import { join } from 'node:path'
import { hasCode } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { NO_LAZY_LAYERS } from '../../src/snapshots/lazy-layers.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { snapshotterSuite } from '../suites/snapshotter-suite.ts'

snapshotterSuite('called directly', {
  isInvalidArgument: (error) => hasCode(error, 'INVALID_ARGUMENT'),
  start: async (root) => {
    const snapshotters = await Snapshotters.open({ root: join(root), layers: NO_LAZY_LAYERS, log: silentLog })
    const inner = await snapshotters.get('testsuite')
    return {
      stop: async () => { await snapshotters.close() },
      snapshotter: {
        prepare: async (...args) => await inner.prepare(...args),
        view: async (...args) => await inner.view(...args),
        commit: async (...args) => { await inner.commit(...args) },
        remove: async (key) => { await inner.remove(key) },
        stat: async (key) => inner.stat(key),
        update: async (...args) => inner.update(...args),
        list: async function * (filters) { for (const block of inner.list(filters)) yield * block },
        close: async () => { await inner.close() }
      }
    }
  }
})
