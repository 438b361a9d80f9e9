// Figures of a daemon, each another one.
import type { Figures } from '../../src/http/metric-table.ts'

const traffic = { requests: 3, bytes: 4096, blocks: 2 }
const none = { requests: 0, bytes: 0, blocks: 0 }

export const figures: Figures = {
  sources: [{
    name: 'one.example', traffic: { foreground: traffic, background: none }, failuresByCode: { BLOCK_HASH_MISMATCH: 2, GATEWAY_TIMEOUT: 1 },
    active: [{ what: 'block x', purpose: 'foreground', ms: 5 }], queued: { foreground: 0, background: 4 }
  }],
  gate: { foreground: 1, held: 2 },
  worker: {
    restarts: 1, waitingReads: 2, failedReads: 3, bytesServed: 100, bytesServedUnverified: 0, leafHashesChecked: 7, violations: 5,
    latency: { boundsUs: [1000, 1_000_000], cached: { sumUs: 500, counts: [2, 1, 0] }, fetched: { sumUs: 2_000_000, counts: [0, 0, 1] } }
  },
  guardianRestarts: 0,
  supplies: { bytes: 9, rejected: 6 },
  cache: { bytes: 10, maxBytes: 20, evictedChunks: 30 },
  layers: { complete: 1, lazy: 2, missing: 0 },
  proofs: { proven: 1, lied: 4, waiting: 0 },
  mounts: 3,
  ready: true
}
