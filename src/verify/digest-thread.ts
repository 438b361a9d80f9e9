// sha256 of long streams in a thread of its own, which lives while there are any: the bytes are copied into a ring of shared
// memory, a tenth of what hashing them costs. Short streams are hashed where they are. Whatever the thread says, or that it
// died, is all that anybody learns: there is no answer without it.
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { messageOf, SnapshotterError } from '../base/errors.ts'
import { DIGEST_RING_BYTES, DIGEST_THREAD_BYTES } from '../base/limits.ts'
import { type Digest, DigestStream, parseDigest } from './digest.ts'
import { BELL_ASLEEP, BELL_RUNG, type DigestAnswer, type DigestRing, END_DIGEST, END_DROPPED, RING_END, RING_READ, RING_WRITTEN } from './digest-tasks.ts'

// Ends as this file does: .ts in a clone, .js in a package.
const ENTRY = new URL(`./digest-tasks${extname(import.meta.filename)}`, import.meta.url)

/** Streaming sha256 that may have to wait. */
export interface LongDigest {
  readonly bytes: number
  /** What it answers must be awaited before the next call; `data` may be reused then. @throws INTERNAL when the thread died */
  readonly update: (data: Uint8Array) => Promise<void> | undefined
  /** Once. @throws INTERNAL when the thread died */
  readonly digest: () => Promise<Digest>
  /** Needed in any case, also after `digest`. */
  readonly drop: () => void
}

/** Of a stream of about `bytes`; a thread is taken with the first of them. */
export function longDigest (bytes: number): LongDigest {
  return bytes > DIGEST_THREAD_BYTES ? new DigestThere() : new DigestHere()
}

class DigestHere implements LongDigest {
  readonly #stream = new DigestStream()

  get bytes (): number {
    return this.#stream.bytes
  }

  update (data: Uint8Array): undefined {
    this.#stream.update(data)
  }

  async digest (): Promise<Digest> {
    return this.#stream.digest()
  }

  drop (): void {}
}

interface Opened { readonly thread: DigestThread, readonly ring: DigestRing, readonly answer: Promise<Digest> }

class DigestThread {
  readonly #bell = new Int32Array(new SharedArrayBuffer(8))
  // Whatever this process was started with (--eval, --input-type) would be the thread's program, too.
  readonly #worker = new Worker(ENTRY, { workerData: this.#bell, execArgv: [], resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32 } })
  readonly #open = new Map<number, PromiseWithResolvers<Digest>>()
  readonly #death = Promise.withResolvers<never>()
  #opened = 0

  constructor () {
    this.#death.promise.catch(() => {}) // nobody may be waiting then
    this.#worker.on('message', ({ id, hex }: DigestAnswer) => { this.#open.get(id)?.resolve(parseDigest(`sha256:${hex}`)) })
    this.#worker.on('error', (error) => { this.#fail(` (${messageOf(error)})`) })
    this.#worker.on('exit', () => { this.#fail('') })
  }

  open (): Opened {
    const ring = {
      id: this.#opened++, state: new Int32Array(new SharedArrayBuffer(12)), bytes: new Uint8Array(new SharedArrayBuffer(DIGEST_RING_BYTES))
    }
    const answer = Promise.withResolvers<Digest>()
    answer.promise.catch(() => {}) // a stream that is dropped waits for none
    this.#open.set(ring.id, answer)
    this.#worker.postMessage(ring)
    this.wake()
    return { thread: this, ring, answer: answer.promise }
  }

  wake (): void {
    Atomics.add(this.#bell, BELL_RUNG, 1)
    if (Atomics.load(this.#bell, BELL_ASLEEP) === 1) Atomics.notify(this.#bell, BELL_RUNG)
  }

  close (id: number): void {
    this.#open.delete(id)
    if (this.#open.size > 0) return
    if (current === this) current = null
    void this.#worker.terminate()
  }

  /** Rejects when the thread dies. */
  get death (): Promise<never> {
    return this.#death.promise
  }

  #fail (why: string): void {
    const failure = new SnapshotterError('INTERNAL', `the thread that hashes streams died${why}`)
    if (current === this) current = null
    this.#death.reject(failure)
    for (const { reject } of this.#open.values()) reject(failure)
  }
}

/** Shared by all streams of this process. */
let current: DigestThread | null = null

class DigestThere implements LongDigest {
  #opened: Opened | null = null
  #written = 0
  bytes = 0

  update (data: Uint8Array): Promise<void> | undefined {
    this.bytes += data.byteLength
    const opened = this.#open()
    const done = this.#put(opened, data)
    return done === data.byteLength ? undefined : this.#putRest(opened, data.subarray(done))
  }

  async digest (): Promise<Digest> {
    const { thread, ring, answer } = this.#open()
    Atomics.store(ring.state, RING_END, END_DIGEST)
    thread.wake()
    return await answer
  }

  drop (): void {
    if (this.#opened === null) return
    const { thread, ring } = this.#opened
    Atomics.store(ring.state, RING_END, END_DROPPED)
    thread.wake()
    thread.close(ring.id)
  }

  #open (): Opened {
    return this.#opened ??= (current ??= new DigestThread()).open()
  }

  /** How many bytes there was room for. */
  #put ({ thread, ring: { state, bytes } }: Opened, data: Uint8Array): number {
    const room = bytes.byteLength - ((this.#written - Atomics.load(state, RING_READ)) | 0)
    const length = Math.min(data.byteLength, room)
    if (length === 0) return 0
    const at = (this.#written >>> 0) % bytes.byteLength
    const first = Math.min(length, bytes.byteLength - at)
    bytes.set(data.subarray(0, first), at)
    if (first < length) bytes.set(data.subarray(first, length), 0)
    this.#written = (this.#written + length) | 0
    Atomics.store(state, RING_WRITTEN, this.#written)
    if (room - length < bytes.byteLength / 2) thread.wake() // for less, a sleeping thread is not worth a change of threads
    return length
  }

  async #putRest (opened: Opened, data: Uint8Array): Promise<void> {
    const { state } = opened.ring
    for (let done = 0; ;) {
      const read = Atomics.load(state, RING_READ)
      done += this.#put(opened, data.subarray(done))
      if (done === data.byteLength) return
      const { value } = Atomics.waitAsync(state, RING_READ, read)
      if (typeof value !== 'string') await Promise.race([value, opened.thread.death])
    }
  }
}
