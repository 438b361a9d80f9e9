// The entry of the thread that DigestThread starts: hashes what is put into rings of shared memory, stream by stream, and
// sleeps when all are empty. It never returns to its event loop: new streams are looked for between two rounds.
import { createHash } from 'node:crypto'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'

export interface DigestRing {
  readonly id: number
  /** Bytes ever written and ever read, both modulo 2^32, and how it ended: see RING_*. */
  readonly state: Int32Array<SharedArrayBuffer>
  readonly bytes: Uint8Array<SharedArrayBuffer>
}

export interface DigestAnswer { readonly id: number, readonly hex: string }

/** How often the bell was rung, and 1 while the thread sleeps or is about to. */
export const BELL_RUNG = 0
export const BELL_ASLEEP = 1

export const RING_WRITTEN = 0
export const RING_READ = 1
export const RING_END = 2
/** Values of RING_END. */
export const END_DIGEST = 1
export const END_DROPPED = 2

const STEP_BYTES = 256 * 1024

class Stream {
  readonly #ring: DigestRing
  readonly #hash = createHash('sha256')
  #read = 0

  constructor (ring: DigestRing) {
    this.#ring = ring
  }

  /** False when there was nothing to do. */
  step (): boolean {
    const { state, bytes } = this.#ring
    const left = (Atomics.load(state, RING_WRITTEN) - this.#read) | 0
    const at = (this.#read >>> 0) % bytes.byteLength
    const length = Math.min(left, bytes.byteLength - at, STEP_BYTES)
    if (length === 0) return false
    this.#hash.update(bytes.subarray(at, at + length))
    this.#read = (this.#read + length) | 0
    Atomics.store(state, RING_READ, this.#read)
    Atomics.notify(state, RING_READ)
    return true
  }

  /** Only when there is nothing left. */
  end (): DigestAnswer | 'dropped' | null {
    const { id, state } = this.#ring
    const end = Atomics.load(state, RING_END)
    if (end === END_DROPPED) return 'dropped'
    if (end === 0 || Atomics.load(state, RING_WRITTEN) !== this.#read) return null
    return { id, hex: this.#hash.digest('hex') }
  }
}

// Other threads that hash import this for its names.
if (parentPort !== null && workerData instanceof Int32Array) hashForEver(parentPort, workerData as Int32Array<SharedArrayBuffer>)

function hashForEver (port: NonNullable<typeof parentPort>, bell: Int32Array<SharedArrayBuffer>): never {
  const streams = new Set<Stream>()
  for (;;) {
    const rung = Atomics.load(bell, BELL_RUNG)
    for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
      streams.add(new Stream(next.message as DigestRing)) // our own main thread's
    }
    let worked = false
    for (const stream of streams) {
      if (stream.step()) {
        worked = true
        continue
      }
      const end = stream.end()
      if (end === null) continue
      streams.delete(stream)
      if (end !== 'dropped') port.postMessage(end)
    }
    if (worked) continue
    Atomics.store(bell, BELL_ASLEEP, 1)
    Atomics.wait(bell, BELL_RUNG, rung) // ends at once when it was rung since
    Atomics.store(bell, BELL_ASLEEP, 0)
  }
}
