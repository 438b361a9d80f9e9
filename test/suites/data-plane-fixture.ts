// A guardian with its worker on directories of their own, a control client that answers misses from memory (or holds them
// back), and readers in processes of their own. Ends everything it started. Needs root and /dev/fuse.
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { accessSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { silentLog } from '../../src/base/log.ts'
import { DataPlane } from '../../src/mount/data-plane.ts'
import { NativeProgram } from '../../src/mount/native-program.ts'
import { encodeTable, type TableChunk } from '../../src/layer/chunk-table.ts'

export const dataPlaneSkipReason = whyNot()

/** The sanitizer builds run the same tests: IPFS_SNAPSHOTTER_NATIVE names the binary. */
export async function nativeUnderTest (): Promise<NativeProgram> {
  const path = process.env['IPFS_SNAPSHOTTER_NATIVE']
  return path === undefined ? await NativeProgram.locate() : new NativeProgram(path)
}

export interface TestChunk extends TableChunk { readonly bytes: Buffer }

export interface TestFile {
  readonly name: string
  readonly cache: string
  readonly chunks: readonly TestChunk[]
  /** What the FUSE file must read as. */
  readonly content: Buffer
  readonly table: Uint8Array
}

export interface Asked { readonly name: string, readonly first: number, readonly count: number, readonly background: boolean }
export type Range = readonly [file: TestFile, offset: number, length: number]

interface FileOptions { readonly prefixBlocks?: number, readonly cache?: string, readonly chunks?: readonly TestChunk[] }

export class DataPlaneFixture {
  readonly state: string
  readonly native: NativeProgram
  readonly files = new Map<string, TestFile>()
  /** Every run of every FETCH that reached us, in order. */
  readonly asked: Asked[] = []
  readonly #children: ChildProcess[] = []
  plane: DataPlane
  /** While it is set, misses are noted and not answered. */
  holding = false

  private constructor (state: string, native: NativeProgram, plane: DataPlane) {
    this.state = state
    this.native = native
    this.plane = plane
  }

  /** `resend: false`: as on a kernel before 6.9, which cannot. */
  static async start (readDeadlineMs = 30_000, { resend = true } = {}): Promise<DataPlaneFixture> {
    const native = await nativeUnderTest()
    const state = mkdtempSync(join(tmpdir(), 'dp-'))
    if (!resend) await native.run(['guardian', '--state', state, '--no-resend'])
    const plane = await DataPlane.connect({ state, native, readDeadlineMs, log: silentLog })
    const fixture = new DataPlaneFixture(state, native, plane)
    fixture.#listen()
    return fixture
  }

  /** Ends the control connection as a crash of Node would, and comes back as its successor. */
  async reconnect (readDeadlineMs = 30_000): Promise<void> {
    await this.plane.close()
    this.plane = await DataPlane.connect({ state: this.state, native: null, readDeadlineMs })
    this.#listen()
  }

  /** A file of random chunks of these sizes, 4096-aligned, a hole of one block after each; prefix in blocks. */
  async addFile (name: string, sizes: readonly number[], options: FileOptions = {}): Promise<TestFile> {
    const chunks = options.chunks ?? makeChunks(sizes)
    const last = chunks.at(-1)
    const dataSize = last === undefined ? 4096 : last.dataOffset + last.size
    const prefix = randomBytes((options.prefixBlocks ?? 0) * 4096)
    const content = Buffer.alloc(prefix.byteLength + Math.ceil(dataSize / 4096) * 4096)
    content.set(prefix)
    for (const { bytes, dataOffset } of chunks) content.set(bytes, prefix.byteLength + dataOffset)
    const table = encodeTable({ layerDigest: Buffer.alloc(32, 7), dataSize, chunks, prefix })
    const file = { name, cache: options.cache ?? join(this.state, 'cache', name), chunks, content, table }
    this.files.set(name, file)
    await this.plane.addFile(name, file.cache, table)
    return file
  }

  pathOf (file: TestFile): string {
    return join(this.state, 'data', file.name)
  }

  /** Supplies chunks one by one, each encoding in turn. */
  async supply (file: TestFile, first: number, count: number): Promise<void> {
    for (let index = first; index < first + count; index++) {
      const bytes = file.chunks[index]?.bytes ?? Buffer.alloc(0)
      const encoding = index % 2 === 0 ? 'gzip' : 'raw'
      await this.plane.supply(file.name, encoding, index, 1, encoding === 'gzip' ? gzipSync(bytes, { level: 1 }) : bytes)
    }
  }

  /** Answers what was held back. */
  async release (): Promise<void> {
    this.holding = false
    for (const { name, first, count } of [...this.asked]) {
      const file = this.files.get(name)
      if (file !== undefined) await this.supply(file, first, count)
    }
  }

  /** Starts a reader of all ranges at once; resolves when it has opened its files. */
  async startReader (ranges: readonly Range[]): Promise<{ readonly outcomes: Promise<string[]>, readonly child: ChildProcess }> {
    const script = join(import.meta.dirname, 'range-reader.mjs')
    const plan = JSON.stringify(ranges.map(([file, offset, length]) => [this.pathOf(file), offset, length]))
    const child = spawn(process.execPath, [script, plan], {
      stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, UV_THREADPOOL_SIZE: '128', NODE_OPTIONS: '' }
    })
    this.#children.push(child)
    const outcomes: string[] = []
    const started = Promise.withResolvers<undefined>()
    const ended = new Promise<string[]>((resolve) => child.once('close', () => { resolve(outcomes) }))
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'started') return started.resolve(undefined)
      const { index, outcome } = JSON.parse(line) as { index: number, outcome: string }
      outcomes[index] = outcome
    })
    await started.promise
    return { outcomes: ended, child }
  }

  async read (ranges: readonly Range[]): Promise<string[]> {
    return await (await this.startReader(ranges)).outcomes
  }

  async waitingReads (): Promise<number> {
    return (await this.plane.status()).waitingReads
  }

  /** SIGKILL once all supplies are acknowledged: others are sent again to the successor. */
  async killSettledWorker (): Promise<number> {
    await until(() => this.plane.unacknowledgedBytes === 0)
    return await this.killWorker()
  }

  /** SIGKILL, whatever is under way; resolves with the killed pid when its successor talks to us. */
  async killWorker (): Promise<number> {
    const pid = this.plane.worker?.pid ?? 0
    if (pid === 0) throw new Error('no worker is connected')
    process.kill(pid, 'SIGKILL')
    await until(() => this.plane.worker !== null && this.plane.worker.pid !== pid)
    return pid
  }

  log (): string {
    return readFileSync(join(this.state, 'native.log'), 'utf8')
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.plane.close()
    await this.native.stopGuardian(this.state)
    for (const child of this.#children) child.kill('SIGKILL')
    await this.native.run(['umount-tree', this.state])
    const sanitizer = /(ThreadSanitizer|AddressSanitizer|runtime error)[^\n]*/.exec(this.log())
    if (sanitizer !== null) throw new Error(`${sanitizer[0]}; all of it: ${this.log()}`)
    rmSync(this.state, { recursive: true, force: true })
  }

  #listen (): void {
    this.plane.onFetch(async (name, runs, { background }) => {
      const file = this.files.get(name)
      for (const { first, count } of runs) this.asked.push({ name, first, count, background })
      if (this.holding) return await new Promise(() => {})
      if (file !== undefined) for (const { first, count } of runs) await this.supply(file, first, count)
    })
  }
}

export function sha256Of (bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The sha256 that a read of each range must give. */
export function expected (ranges: readonly Range[]): string[] {
  return ranges.map(([file, offset, length]) => sha256Of(file.content.subarray(offset, offset + length)))
}

export async function until (condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!await condition()) await delay(5)
}

export function makeChunks (sizes: readonly number[]): TestChunk[] {
  let at = 0
  return sizes.map((size) => {
    const bytes = randomBytes(size)
    const chunk = { dataOffset: at, size, innerOffset: 0, offset: at, length: size, digest: createHash('sha256').update(bytes).digest(), bytes }
    at = Math.ceil((at + size) / 4096) * 4096 + 4096
    return chunk
  })
}

function whyNot (): string | null {
  if (process.getuid?.() !== 0) return 'needs root to mount'
  try {
    accessSync('/dev/fuse')
    return null
  } catch {
    return 'needs /dev/fuse'
  }
}
