// The proof of lazily opened layers in the daemon: one pass over the whole blob holds layer digest, diffID and TOC against
// each other. It always runs, in the background or at once when somebody must know; what it found is sealed and stays
// found over restarts. Sources that fail prove nothing: it is tried again for as long as the layer is mounted.
import { abortable } from '../base/abortable.ts'
import { type Clock, sleep, systemClock } from '../base/clock.ts'
import { asSnapshotterError, hasCode, isSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { PROOF_RETRY_MS_FIRST, PROOF_RETRY_MS_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { Semaphore } from '../base/semaphore.ts'
import type { OpenedLayer } from '../cache/layer-opener.ts'
import type { LayerStore, LayerVerdict } from '../cache/layer-store.ts'
import type { BlockService, Waits } from '../ipfs/blocks.ts'
import { proveAside } from '../layer/prove-thread.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import type { ProofPace } from './proof-pace.ts'

/** The whole blob of a layer in order: the place to hang in who wants the same bytes. */
export type BlobStream = (layer: OpenedLayer, blocks: BlockService, waits: Waits) => AsyncIterable<VerifiedBytes>

/** Called once per layer that lied, before anybody hears of it. */
export type LieHandler = (layer: OpenedLayer, lie: SnapshotterError) => Promise<void>

interface ProofsInit {
  readonly store: Pick<LayerStore, 'loadVerdict' | 'saveVerdict'>
  readonly pace: ProofPace
  readonly log: Log
  /** Whether anything is mounted from this layer: what nobody uses is not proven in the background. */
  readonly isUsed: (key: string) => boolean
  readonly stream?: BlobStream
  readonly clock?: Clock
}

interface Pass {
  readonly hurry: AbortController
  readonly done: Promise<void>
  /** Who called `prove` and still waits. */
  waiting: number
}

/** What the layer says of itself is wrong; a source cannot make these, only a publisher can. */
const LIES = ['DIGEST_MISMATCH', 'DIFFID_MISMATCH', 'TOC_INVALID', 'LAYER_INVALID', 'LIMIT_EXCEEDED', 'MEDIA_TYPE_UNSUPPORTED'] as const
const PROVEN: LayerVerdict = { lie: null }

export class LayerProofs {
  readonly #init: ProofsInit
  readonly #clock: Clock
  readonly #verdicts = new Map<string, LayerVerdict>()
  /** The disk was looked at. */
  readonly #unjudged = new Set<string>()
  readonly #passes = new Map<string, Pass>()
  readonly #waiting = new Set<string>()
  /** One background pass at a time: each holds a tree of the layer in memory. */
  readonly #slot = new Semaphore(1)
  readonly #closing = new AbortController()
  #onLie: LieHandler = async () => {}

  constructor (init: ProofsInit) {
    this.#init = init
    this.#clock = init.clock ?? systemClock
  }

  onLie (handler: LieHandler): void {
    this.#onLie = handler
  }

  /** Layers judged in this life or remembered, those that wait to be judged, and those that are read for it now. */
  get state (): { readonly proven: number, readonly lied: number, readonly waiting: number, readonly running: readonly string[] } {
    const lied = [...this.#verdicts.values()].filter(({ lie }) => lie !== null).length
    return { proven: this.#verdicts.size - lied, lied, waiting: this.#waiting.size, running: [...this.#passes.keys()] }
  }

  /** From memory; `judge` has looked at the disk. */
  isProven (key: string): boolean {
    return this.#verdicts.get(key)?.lie === null
  }

  /** True when it is proven, false when it is not yet. @throws the lie, when it was found to lie. */
  async judge (layer: OpenedLayer): Promise<boolean> {
    const verdict = this.#verdicts.get(layer.key) ?? await this.#recall(layer)
    if (verdict === null) return false
    if (verdict.lie !== null) throw new SnapshotterError(verdict.lie.code, verdict.lie.message)
    return true
  }

  /** Proves it in its own time, trying again until it did, or until nobody uses the layer any more. */
  inBackground (layer: OpenedLayer, blocks: BlockService): void {
    if (this.#waiting.has(layer.key)) return
    this.#waiting.add(layer.key)
    this.#untilJudged(layer, blocks)
      .catch((error: unknown) => {
        if (!this.#closing.signal.aborted) this.#init.log.warn({ layer: layer.record.digest, error: asSnapshotterError(error).line }, 'background proof ended')
      })
      .finally(() => { this.#waiting.delete(layer.key) })
      .catch(() => {})
  }

  /** Now, at full speed; a pass that runs already hurries up. @throws the lie, or what the sources throw; the signal's reason. */
  async prove (layer: OpenedLayer, blocks: BlockService, signal?: AbortSignal): Promise<void> {
    if (await this.judge(layer)) return
    const pass = this.#pass(layer, blocks, 'foreground')
    pass.hurry.abort()
    pass.waiting++
    await abortable(pass.done, signal).finally(() => { pass.waiting-- })
    await this.judge(layer)
  }

  /** The layer was caught in a lie elsewhere: its chunks are not what its TOC says. */
  async condemn (layer: OpenedLayer, lie: SnapshotterError): Promise<void> {
    if (!this.#verdicts.has(layer.key)) await this.#settle(layer, { lie: { code: lie.code, message: lie.message } })
  }

  close (): void {
    this.#closing.abort(new SnapshotterError('CANCELLED', 'the daemon is shutting down'))
    for (const { hurry } of this.#passes.values()) hurry.abort() // what waits for quiet keeps the process alive
  }

  /** A plain layer was proven when it was opened: its record was made by a whole pass. */
  async #recall (layer: OpenedLayer): Promise<LayerVerdict | null> {
    if (this.#unjudged.has(layer.key)) return null // every layer above asks again
    const found = layer.record.tocDigest === null ? PROVEN : await this.#init.store.loadVerdict(layer.key)
    const known = this.#verdicts.get(layer.key)
    if (found === null) this.#unjudged.add(layer.key)
    if (known !== undefined || found === null) return known ?? null
    this.#verdicts.set(layer.key, found)
    return found
  }

  async #untilJudged (layer: OpenedLayer, blocks: BlockService): Promise<void> {
    const { signal } = this.#closing
    for (let pauseMs = PROOF_RETRY_MS_FIRST; ; pauseMs = Math.min(pauseMs * 2, PROOF_RETRY_MS_MAX)) {
      if (await this.judge(layer)) return
      const done = await this.#slot.run(async () => {
        if (!this.#init.isUsed(layer.key)) return true
        return await this.#pass(layer, blocks, 'background').done.then(() => true, (error: unknown) => {
          signal.throwIfAborted()
          this.#init.log.info({ layer: layer.record.digest, retryMs: pauseMs, error: asSnapshotterError(error).line }, 'layer not proven yet')
          return false
        })
      }, { signal })
      if (done) return
      await sleep(pauseMs, signal)
    }
  }

  #pass (layer: OpenedLayer, blocks: BlockService, priority: 'foreground' | 'background'): Pass {
    const running = this.#passes.get(layer.key)
    if (running !== undefined) return running
    const hurry = new AbortController()
    const done = this.#run(layer, blocks, hurry.signal, priority).finally(() => { this.#passes.delete(layer.key) })
    done.catch(() => {})
    const pass = { hurry, done, waiting: 0 }
    this.#passes.set(layer.key, pass)
    return pass
  }

  /** Resolves when the layer was judged, either way. @throws what the sources throw. */
  async #run (layer: OpenedLayer, blocks: BlockService, hurry: AbortSignal, priority: 'foreground' | 'background'): Promise<void> {
    await this.#init.pace.start(hurry)
    const { record, key } = layer
    const { digest, diffId, size, mediaType, tocDigest, index } = record
    const signal = this.#closing.signal
    const source = { failed: false }
    const started = this.#clock.monotonicMs()
    this.#init.log.debug({ layer: digest, priority }, 'proof begins')
    try {
      const stream = this.#paced(layer, (this.#init.stream ?? wholeBlob)(layer, blocks, { signal, priority }), hurry, source)
      const toc = tocDigest === null ? undefined : { index, digest: tocDigest }
      const { chunks, tarBytes } = await proveAside({ stream, digest, diffId, size, mediaType, signal, toc })
      this.#init.log.info({ layer: digest, chunks, tarBytes, ms: Math.round(this.#clock.monotonicMs() - started) }, 'layer proven')
      await this.#settle(layer, PROVEN)
    } catch (error) {
      if (source.failed || !isSnapshotterError(error) || !hasCode(error, ...LIES)) throw error
      this.#init.log.error({ layer: digest, key, error: error.line }, 'the layer lies: it is not what its manifest says')
      await this.#settle(layer, { lie: { code: error.code, message: error.message } })
    }
  }

  async * #paced (layer: OpenedLayer, stream: AsyncIterable<VerifiedBytes>, hurry: AbortSignal, source: { failed: boolean }): AsyncGenerator<Uint8Array> {
    const pieces = stream[Symbol.asyncIterator]()
    try {
      for (;;) {
        const next = await pieces.next().catch((error: unknown) => { source.failed = true; throw error })
        if (next.done === true) return
        yield next.value
        await this.#init.pace.rest(next.value.byteLength, hurry)
        if (this.#isWanted(layer.key)) continue
        source.failed = true
        throw new SnapshotterError('CANCELLED', `layer ${layer.record.digest} is not mounted, and nobody waits for its proof`)
      }
    } finally {
      await pieces.return?.()
    }
  }

  #isWanted (key: string): boolean {
    return (this.#passes.get(key)?.waiting ?? 0) > 0 || this.#init.isUsed(key)
  }

  async #settle (layer: OpenedLayer, verdict: LayerVerdict): Promise<void> {
    this.#verdicts.set(layer.key, verdict)
    this.#unjudged.delete(layer.key)
    await this.#init.store.saveVerdict(layer.key, verdict).catch((error: unknown) => {
      // The disk is full, or the layer's folder is gone: it is proven again in the next life.
      this.#init.log.warn({ key: layer.key, error: asSnapshotterError(error).line }, 'verdict not kept')
    })
    if (verdict.lie !== null) await this.#onLie(layer, new SnapshotterError(verdict.lie.code, verdict.lie.message))
  }
}

async function * wholeBlob ({ record }: OpenedLayer, blocks: BlockService, waits: Waits): AsyncGenerator<VerifiedBytes> {
  const file = await blocks.openFile(record.cid, waits)
  yield * file.stream(0, file.size, waits)
}
