// The proof of a layer beside whoever else needs this thread: two trees of a large layer would fill the heap that everything in
// the daemon shares, and take it down at its limit. The thread ends with its proof, and what it held goes back.
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { LAYER_THREAD_HEAP_MIB, LAYER_THREAD_YOUNG_MIB, PROOF_HERE_ENTRIES_MAX } from '../base/limits.ts'
import { died, errorOf } from '../base/thread-pool.ts'
import { inodeCount, recordOf, wholeIndex } from './packed-index.ts'
import { type LayerProof, type LayerToProve, proveLayer } from './prove.ts'
import type { ProofClaims, ProofMessage, ProofPiece } from './prove-tasks.ts'

// Ends as this file does: .ts in a clone, .js in a package.
const ENTRY = new URL(`./prove-tasks${extname(import.meta.filename)}`, import.meta.url)
const LIMITS = { maxYoungGenerationSizeMb: LAYER_THREAD_YOUNG_MIB, maxOldGenerationSizeMb: LAYER_THREAD_HEAP_MIB }

/** As proveLayer; a large layer in a thread of its own. @throws as proveLayer, what the stream throws, RESOURCE_EXHAUSTED, INTERNAL */
export async function proveAside (layer: LayerToProve): Promise<LayerProof> {
  const { toc } = layer
  if (toc === undefined) return await proveLayer(layer)
  if (inodeCount(toc.index) <= PROOF_HERE_ENTRIES_MAX) return await proveLayer({ ...layer, toc: { ...toc, index: wholeIndex(toc.index) } })
  const { digest, size, diffId, mediaType, signal } = layer
  const claims: ProofClaims = { digest, size, diffId, mediaType, record: recordOf(toc.index), tocDigest: toc.digest }
  return await proveThere(claims, layer.stream[Symbol.asyncIterator](), signal)
}

async function proveThere (claims: ProofClaims, pieces: AsyncIterator<Uint8Array>, signal: AbortSignal | undefined): Promise<LayerProof> {
  const { promise, resolve, reject } = Promise.withResolvers<LayerProof>()
  // Whatever this process was started with (--eval, --input-type) would be the thread's program, too.
  const thread = new Worker(ENTRY, { workerData: claims, execArgv: [], resourceLimits: LIMITS })
  let cause: unknown
  const give = async (): Promise<void> => {
    signal?.throwIfAborted()
    const next = await pieces.next()
    const piece: ProofPiece = next.done === true ? null : new Uint8Array(next.value) // others may have the same bytes
    thread.postMessage(piece, piece === null ? [] : [piece.buffer as ArrayBuffer])
  }
  thread.on('message', (message: ProofMessage) => {
    if (message === 'more') give().catch(reject)
    else if ('result' in message) resolve(message.result as LayerProof)
    else reject(errorOf(message.error))
  })
  thread.on('error', (error) => { cause = error })
  thread.on('exit', () => { reject(died({ what: `proof of layer ${claims.digest}` }, cause)) })
  try {
    return await promise
  } finally {
    await thread.terminate()
    pieces.return?.().catch(() => {}) // it may still wait for the network
  }
}
