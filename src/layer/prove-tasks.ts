// Entry of the thread that proves one layer: asks for the blob piece by piece, answers with the proof or why there is none.
import { parentPort, workerData } from 'node:worker_threads'
import type { ThreadAnswer } from '../base/thread-pool.ts'
import { failureAnswer } from '../base/thread-tasks.ts'
import { type Digest, parseDigest } from '../verify/digest.ts'
import { decodeIndex } from './index-codec.ts'
import { type LayerToProve, proveLayer } from './prove.ts'

/** What the thread is started with. */
export interface ProofClaims extends Pick<LayerToProve, 'digest' | 'size' | 'diffId' | 'mediaType'> {
  /** Of encodeIndex. */
  readonly record: Uint8Array
  readonly tocDigest: Digest
}

/** From the thread: the next piece, please; or its last word. */
export type ProofMessage = 'more' | ThreadAnswer

/** To the thread; null behind the last one. */
export type ProofPiece = Uint8Array | null

async function * pieces (port: NonNullable<typeof parentPort>): AsyncGenerator<Uint8Array> {
  const next = async (): Promise<ProofPiece> => await new Promise((resolve) => {
    port.once('message', resolve)
    port.postMessage('more' satisfies ProofMessage)
  })
  // The next one is on its way while this one is looked at.
  for (let coming = next(); ;) {
    const piece = await coming
    if (piece === null) return
    coming = next()
    yield piece
  }
}

async function prove (port: NonNullable<typeof parentPort>, { record, tocDigest, ...claims }: ProofClaims): Promise<ThreadAnswer> {
  try {
    const toc = { index: decodeIndex(record), digest: parseDigest(tocDigest) }
    return { result: await proveLayer({ ...claims, stream: pieces(port), toc }) }
  } catch (error) {
    return failureAnswer(error)
  }
}

if (parentPort !== null) parentPort.postMessage(await prove(parentPort, workerData as ProofClaims) satisfies ProofMessage) // our own main thread
