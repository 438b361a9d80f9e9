// Control's end of the data plane: files come and go, missing chunks are asked for and supplied. Every request survives a
// replaced worker: it is sent again until it is answered or its deadline ends. What was supplied and not yet acknowledged
// is kept (bounded) and supplied again, so that a killed worker costs no second fetch.
import { join } from 'node:path'
import { currentCall } from '../base/call-id.ts'
import { asSnapshotterError, messageOf, SnapshotterError } from '../base/errors.ts'
import { DATA_PLANE_DEADLINE_MS, HAND_OVER_DEADLINE_MS, SUPPLY_BYTES_IN_FLIGHT, TABLE_PART_BYTES } from '../base/limits.ts'
import { silentLog, type Log } from '../base/log.ts'
import { DataPlaneLink, type Hello } from './data-plane-link.ts'
import type { FetchHandler, RejectedHandler } from './data-plane-handlers.ts'
import { type DataPlaneStatus, readStatus } from './data-plane-status.ts'
import { BodyReader, chunkRuns, encodeFrame, FRAME, type Frame, resultOf, text, u32 } from './frames.ts'
import { GuardianKeeper } from './guardian-keeper.ts'
import type { NativeProgram } from './native-program.ts'
import { OutstandingChunks } from './outstanding-chunks.ts'
import type { ChunkRun } from './supply.ts'

interface Request {
  readonly frames: ReadonlyArray<readonly Uint8Array[]>
  readonly resolve: (answer: Frame) => void
  readonly reject: (error: Error) => void
  readonly call: string | undefined
}

interface ConnectOptions {
  /** The guardian's state directory. */
  readonly state: string
  /** Starts the guardian when none runs, and again when it dies; null: only connects. */
  readonly native: NativeProgram | null
  readonly log?: Log
  /** Patience of one read that waits for the network; 0: for ever. */
  readonly readDeadlineMs: number
}

const ENOENT = 2; const EEXIST = 17; const EBADMSG = 74; const EIO = 5

export class DataPlane {
  readonly #link: DataPlaneLink
  readonly #log: Log
  readonly #settings: readonly Uint8Array[]
  readonly #requests = new Map<number, Request>()
  readonly #keeper: GuardianKeeper | null
  #outstanding = new OutstandingChunks()
  #guardianPid = 0
  #replacedHandler: (() => void) | null = null
  readonly #roomWaiters: Array<() => void> = []
  #fetchHandler: FetchHandler | null = null
  #rejectedHandler: RejectedHandler | null = null
  #unheard: Frame[] = []
  #inFlight = 0
  #rejected = 0
  #lastId = 0

  private constructor (options: ConnectOptions) {
    this.#log = options.log ?? silentLog
    this.#settings = encodeFrame(FRAME.SETTINGS, 0, u32(options.readDeadlineMs, 0))
    const { native, state } = options
    this.#keeper = native === null ? null : new GuardianKeeper({ native, state, log: this.#log })
    this.#link = new DataPlaneLink({
      socketPath: join(options.state, 'data.sock'),
      log: this.#log,
      onConnect: (hello) => { this.#onConnect(hello) },
      onFrame: (frame) => { this.#onFrame(frame) },
      onRefused: async () => { await this.#keeper?.revive() }
    })
  }

  /** Starts the guardian if need be and waits for a worker. @throws ENVIRONMENT, MOUNT_FAILED, DATA_PLANE_DOWN. */
  static async connect (options: ConnectOptions): Promise<DataPlane> {
    const started = await options.native?.startGuardian(options.state)
    const plane = new DataPlane(options)
    plane.#log.info({ state: options.state, guardian: started === undefined || started === false ? 'found' : started.pid }, 'data plane')
    try {
      await plane.#ask(FRAME.LIST)
      return plane
    } catch (error) {
      await plane.close()
      throw error
    }
  }

  get connected (): boolean {
    return this.#link.hello !== null
  }

  /** The worker that is connected now. */
  get worker (): Hello | null {
    return this.#link.hello
  }

  /** Supplied and not yet known to be stored. */
  get unacknowledgedBytes (): number {
    return this.#inFlight
  }

  /** Supplies so far that did not match their digests. */
  get rejectedSupplies (): number {
    return this.#rejected
  }

  /** Who answers misses; those that came before are handed over now. A promise that ends frees what it left unanswered. */
  onFetch (handler: FetchHandler): void {
    this.#fetchHandler = handler
    for (const frame of this.#unheard.splice(0)) this.#onFetchFrame(frame)
  }

  onRejected (handler: RejectedHandler): void {
    this.#rejectedHandler = handler
  }

  /** Called when another guardian answers: it knows no file, and what was mounted on the former one is dead. */
  onReplaced (handler: () => void): void {
    this.#replacedHandler = handler
  }

  /** Serves `table` as `<state>/data/<name>`. Again with the same table: nothing happens. @throws ALREADY_EXISTS, MOUNT_FAILED. */
  async addFile (name: string, cacheDirectory: string, table: Uint8Array): Promise<void> {
    const parts: Uint8Array[][] = []
    let at = 0
    for (; table.byteLength - at > TABLE_PART_BYTES; at += TABLE_PART_BYTES) {
      parts.push(encodeFrame(FRAME.ADD_PART, 0, text(name), table.subarray(at, at + TABLE_PART_BYTES)))
    }
    this.#outstanding.add(name, cacheDirectory)
    const body = [text(name), text(cacheDirectory), table.subarray(at)]
    const { error, reason } = resultOf(await this.#ask(FRAME.ADD_FILE, body, { before: parts }))
    if (error === EEXIST) throw new SnapshotterError('ALREADY_EXISTS', `data plane file ${name}: ${reason}`)
    if (error !== 0) throw new SnapshotterError('MOUNT_FAILED', `data plane file ${name} (errno ${error}): ${reason}`)
  }

  /** Also when there is no such file. Reads that wait end with EIO. What other layers' files need of its cache has moved to theirs then. */
  async removeFile (name: string): Promise<void> {
    // Before it is sent: whoever waits for its chunks under another name asks again after it.
    this.#outstanding.remove(name)
    await this.#ask(FRAME.REMOVE_FILE, [text(name)], { deadlineMs: HAND_OVER_DEADLINE_MS })
  }

  async list (): Promise<string[]> {
    const body = new BodyReader((await this.#ask(FRAME.LIST)).body)
    return Array.from({ length: body.u32() }, () => body.text())
  }

  async status (): Promise<DataPlaneStatus> {
    return readStatus((await this.#ask(FRAME.STATUS)).body)
  }

  /**
   * Hands over chunks [first, first + count): raw = concatenated, gzip = one member that holds them at their innerOffset.
   * Resolves as soon as they are buffered; bytes that do not match are logged and fail the reads that wait with EIO.
   */
  async supply (name: string, encoding: 'raw' | 'gzip', first: number, count: number, payload: Uint8Array, settled = () => {}): Promise<void> {
    const tail = [Buffer.from([encoding === 'gzip' ? 1 : 0, 0, 0, 0]), u32(first, count), payload]
    await this.#room(payload.byteLength)
    this.#outstanding.supplying(name, first, count)
    this.#deliver(name, tail).then(async ({ error, reason }) => { await this.#supplied(name, first, count, error, reason) })
      .finally(() => { this.#release(payload.byteLength); settled() })
      .catch(() => {})
  }

  /** A file that was removed meanwhile may have left its cache, and readers who wait for these bytes, to another one. */
  async #deliver (name: string, tail: readonly Uint8Array[]): Promise<{ error: number, reason: string }> {
    const twin = this.#outstanding.twin(name)
    const attempt = async (as: string) => await this.#ask(FRAME.SUPPLY, [text(as), ...tail])
      .then(resultOf, (error: unknown) => ({ error: EIO, reason: messageOf(error) }))
    const result = await attempt(name)
    return result.error === ENOENT && twin !== null ? await attempt(twin) : result
  }

  /** Ends the reads that wait for these chunks with `errno`; the next read asks again. */
  fail (name: string, first: number, count: number, errno: number): void {
    this.#outstanding.settle(name, first, count)
    this.#link.send(encodeFrame(FRAME.FAIL, 0, text(name), u32(first, count, errno)))
  }

  /** Resolves when the chunks are in the cache; misses come as background fetches. @throws DATA_PLANE_DOWN when they failed. */
  async need (name: string, first: number, count: number, signal?: AbortSignal): Promise<void> {
    const { error, reason } = resultOf(await this.#ask(FRAME.NEED, [text(name), u32(first, count)], { signal, patient: true }))
    if (error === 0) return
    const chunks = `chunks ${first} to ${first + count - 1} of ${name}`
    throw new SnapshotterError('DATA_PLANE_DOWN', `${chunks} (errno ${error}): ${reason}`)
  }

  /** A frame of another file's making, and its answer. */
  async request (type: number, ...body: readonly Uint8Array[]): Promise<Frame> {
    return await this.#ask(type, body)
  }

  /** Has the guardian unmount everything below the state directory and end. */
  async stop (): Promise<void> {
    this.#keeper?.end()
    await this.#ask(FRAME.STOP)
  }

  /** Leaves guardian and worker as they are. */
  async close (): Promise<void> {
    this.#keeper?.end()
    this.#link.close()
    for (const { reject } of this.#requests.values()) reject(new SnapshotterError('CANCELLED', 'the data plane client was closed'))
    this.#requests.clear()
    await Promise.resolve()
  }

  async #ask (type: number, body: readonly Uint8Array[] = [], options: AskOptions = {}): Promise<Frame> {
    const id = this.#lastId = this.#lastId % 0xffffffff + 1
    const { promise, resolve, reject } = Promise.withResolvers<Frame>()
    const request = { frames: [...options.before ?? [], encodeFrame(type, id, ...body)], resolve, reject, call: currentCall() }
    const onAbort = (): void => { reject(options.signal?.reason as Error) }
    options.signal?.throwIfAborted()
    options.signal?.addEventListener('abort', onAbort, { once: true })
    let leftMs = options.deadlineMs ?? DATA_PLANE_DEADLINE_MS
    const giveUp = (): void => { if ((leftMs -= DATA_PLANE_DEADLINE_MS) <= 0 || !this.connected) reject(this.#silence()) }
    const timer = options.patient === true ? undefined : setInterval(giveUp, DATA_PLANE_DEADLINE_MS)
    this.#requests.set(id, request)
    for (const frame of request.frames) this.#link.send(frame)
    try {
      return await promise
    } finally {
      clearInterval(timer)
      options.signal?.removeEventListener('abort', onAbort)
      this.#requests.delete(id)
    }
  }

  #silence (): SnapshotterError {
    return new SnapshotterError('DATA_PLANE_DOWN', `the data plane did not answer in time (${this.connected ? 'connected' : this.#link.failure})`)
  }

  #onConnect (hello: Hello): void {
    this.#log.info({ ...hello, asking: this.#requests.size }, 'data plane connected')
    this.#link.send(this.#settings)
    for (const { frames } of this.#requests.values()) for (const frame of frames) this.#link.send(frame)
    const replaced = this.#guardianPid !== 0 && this.#guardianPid !== hello.guardianPid
    this.#guardianPid = hello.guardianPid
    if (!replaced) return
    this.#outstanding = new OutstandingChunks()
    this.#replacedHandler?.()
  }

  #onFrame (frame: Frame): void {
    if (frame.type === FRAME.FETCH) {
      if (this.#fetchHandler === null) this.#unheard.push(frame)
      else this.#onFetchFrame(frame)
    } else {
      this.#requests.get(frame.id)?.resolve(frame)
    }
  }

  #onFetchFrame (frame: Frame): void {
    const body = new BodyReader(frame.body)
    const name = body.text()
    const runs = chunkRuns(body)
    const background = frame.id !== 0
    const fresh = this.#outstanding.begin(name, runs, background)
    if (fresh.length === 0 || this.#fetchHandler === null) return
    const work = this.#fetchHandler(name, fresh, { background, call: this.#requests.get(frame.id)?.call })
    if (work === undefined) return
    work.catch((error: unknown) => { this.#log.error({ name, error: asSnapshotterError(error).line }, 'a fetch handler failed') })
      .finally(() => { this.#abandon(name, fresh, background) })
      .catch(() => {})
  }

  /** What a handler neither supplied nor failed will not come: its readers must not wait for the deadline. */
  #abandon (name: string, runs: readonly ChunkRun[], background: boolean): void {
    for (const { first, count } of this.#outstanding.unanswered(name, runs, background)) this.fail(name, first, count, EIO)
  }

  async #supplied (name: string, first: number, count: number, error: number, reason: string): Promise<void> {
    if (error === 0 || error === ENOENT) { // the file was removed meanwhile
      this.#outstanding.settle(name, first, count)
      return
    }
    const event = error === EBADMSG ? 'supplied chunks do not match their digests' : 'supplied chunks were not taken'
    this.#log.error({ name, first, count, errno: error, reason }, event)
    if (error === EBADMSG) this.#rejected++
    if (error === EBADMSG) await this.#rejectedHandler?.(name, first, count, reason)
    this.fail(name, first, count, EIO)
  }

  async #room (bytes: number): Promise<void> {
    while (this.#inFlight > 0 && this.#inFlight + bytes > SUPPLY_BYTES_IN_FLIGHT) {
      await new Promise<void>((resolve) => { this.#roomWaiters.push(resolve) })
    }
    this.#inFlight += bytes
  }

  #release (bytes: number): void {
    this.#inFlight -= bytes
    for (const wake of this.#roomWaiters.splice(0)) wake()
  }
}

interface AskOptions {
  /** Frames that go before the request, each time it is sent. */
  readonly before?: ReadonlyArray<readonly Uint8Array[]>
  readonly signal?: AbortSignal | undefined
  /** No deadline: ends by answer, signal or close. */
  readonly patient?: boolean
  /** While the worker is connected; DATA_PLANE_DEADLINE_MS unless given, and without a worker. */
  readonly deadlineMs?: number
}
