// An Unpacking by the native program, in a process that lives as long as its layer is read: inflating and hashing take no turn of this
// thread, and bytes of large files pass from the line to the disk without it. docs/PROTOCOL.md, *Unpacking*.
import { type ChildProcess, spawn } from 'node:child_process'
import type { Duplex, Readable, Writable } from 'node:stream'
import { getSystemErrorName } from 'node:util'
import { SnapshotterError } from '../base/errors.ts'
import { CHUNK_BYTES_PLAIN } from '../base/limits.ts'
import { ByteReader } from '../layer/byte-reader.ts'
import type { Taken, Unpacker, Unpacking, UnpackOutcome } from '../layer/unpacking.ts'
import { digestFromBytes } from '../verify/digest.ts'

const READ = 1
const TAKE = 2
const END = 3
const NOWHERE = 0xffff_ffff_ffff_ffffn
const ORDER_BYTES = 24
const HEAD_BYTES = 8
const SHA256_BYTES = 32

/** `zlib`: and not ISA-L, if the machine has it. */
export function nativeUnpacker (program: string, { zlib = false }: { readonly zlib?: boolean } = {}): Unpacker {
  return (blob, data) => new NativeUnpacking([program, 'unpack', '--chunk-bytes', String(CHUNK_BYTES_PLAIN), ...zlib ? ['--zlib'] : []], blob, data)
}

class NativeUnpacking implements Unpacking {
  readonly #child: ChildProcess
  readonly #orders: Writable
  readonly #answers: ByteReader
  readonly #failure = Promise.withResolvers<never>()
  #said = ''

  constructor ([program = '', ...args]: readonly string[], blob: AsyncIterable<Uint8Array>, data: number) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe', 'pipe', data] })
    const [input, output, problems, orders] = this.#child.stdio as unknown as [Writable, Readable, Readable, Duplex]
    this.#orders = orders
    this.#answers = new ByteReader(output)
    this.#failure.promise.catch(() => {}) // whoever waits for an answer hears of it
    this.#child.on('error', (cause) => { this.#failure.reject(this.#died(cause)) })
    for (const stream of [input, output, problems, orders]) stream.on('error', () => {}) // its process died: that is what is told
    problems.setEncoding('utf8').on('data', (text: string) => { this.#said = (this.#said + text).slice(-1000) })
    feed(blob, input).catch((error: unknown) => { this.#failure.reject(error) })
  }

  async read (length: number): Promise<Uint8Array> {
    return (await this.#ask(READ, length)).body
  }

  async take (prefix: Uint8Array, length: number, at: number | null): Promise<Taken> {
    const { error, body } = await this.#ask(TAKE, length, at, prefix)
    if (error !== 0) throw Object.assign(new Error(`write failed: ${getSystemErrorName(-error)}`), { code: getSystemErrorName(-error) })
    return { bytes: Number(body.readBigUInt64LE(0)), digests: body.subarray(8) }
  }

  async end (): Promise<UnpackOutcome> {
    const { body } = await this.#ask(END, 0)
    const digestAt = (at: number): UnpackOutcome['blob'] => digestFromBytes(body.subarray(at, at + SHA256_BYTES))
    return {
      blobBytes: Number(body.readBigUInt64LE(0)),
      tarBytes: Number(body.readBigUInt64LE(8)),
      blob: digestAt(16),
      tar: digestAt(16 + SHA256_BYTES),
      problem: body.toString('latin1', 16 + 2 * SHA256_BYTES)
    }
  }

  close (): void {
    this.#failure.reject(new SnapshotterError('CANCELLED', 'nobody unpacks this layer any more'))
    this.#child.kill('SIGKILL')
    for (const stream of this.#child.stdio) stream?.destroy()
  }

  async #ask (kind: number, length: number, at: number | null = null, prefix: Uint8Array = new Uint8Array(0)): Promise<{ error: number, body: Buffer }> {
    const order = Buffer.alloc(ORDER_BYTES)
    order.writeUInt32LE(kind, 0)
    order.writeUInt32LE(prefix.byteLength, 4)
    order.writeBigUInt64LE(BigInt(length), 8)
    order.writeBigUInt64LE(at === null ? NOWHERE : BigInt(at), 16)
    this.#orders.write(prefix.byteLength === 0 ? order : Buffer.concat([order, prefix]))
    const head = await this.#next(HEAD_BYTES)
    return { error: head.readUInt32LE(0), body: await this.#next(head.readUInt32LE(4)) }
  }

  async #next (count: number): Promise<Buffer> {
    const bytes = await Promise.race([this.#answers.take(count), this.#failure.promise])
    if (bytes === null) throw this.#died()
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  #died (cause?: unknown): SnapshotterError {
    const said = this.#said.trim().split('\n').at(-1) ?? ''
    return new SnapshotterError('INTERNAL', `the process that unpacks a layer died${said === '' ? '' : ` (${said})`}`, {}, { cause })
  }
}

/** Until the blob ends, or the process that reads it. @throws what the blob throws */
async function feed (blob: AsyncIterable<Uint8Array>, into: Writable): Promise<void> {
  for await (const bytes of blob) {
    if (into.destroyed) return
    if (!into.write(bytes)) await drained(into)
  }
  into.end()
}

/** Or closed. */
async function drained (stream: Writable): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>()
  const done = (): void => {
    stream.off('drain', done).off('close', done)
    resolve(undefined)
  }
  stream.on('drain', done).on('close', done)
  await promise
}
