import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { mkdtemp, open, readFile, rm, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { gzipSync } from 'node:zlib'
import { UNPACK_BYTES_MIN } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import { DataFile } from '../../src/cache/data-file.ts'
import { LayerOpener } from '../../src/cache/layer-opener.ts'
import { LayerStore } from '../../src/cache/layer-store.ts'
import { Seal } from '../../src/cache/seal.ts'
import type { PlannedLayer } from '../../src/image/plan.ts'
import type { UnixfsFile } from '../../src/ipfs/blocks.ts'
import { encodeIndex } from '../../src/layer/index-codec.ts'
import type { LayerIndex } from '../../src/layer/layer-index.ts'
import type { LayerBlob } from '../../src/layer/layer-stream.ts'
import { type DataSink, indexPlainLayer } from '../../src/layer/plain-layer.ts'
import type { Unpacker } from '../../src/layer/unpacking.ts'
import { NativeProgram } from '../../src/mount/native-program.ts'
import { nativeUnpacker } from '../../src/mount/native-unpacking.ts'
import { rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { lineOf } from '../layer/errors.ts'
import { MemorySink, pieces, verified } from '../layer/fixtures.ts'
import { contentsOfDevice, flatten } from '../layer/flatten.ts'
import { inodeAt } from '../layer/index-tar.ts'
import { entry, gnuLong, tar } from '../layer/tar-writer.ts'

const KIB = 1024
const OTHER = digestOf(Buffer.from('other'))
const GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip'

let folder: string
let program: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unpacking-'))
  program = (await NativeProgram.locate()).path
})
afterAll(async () => { await rm(folder, { recursive: true }) })

/** With ISA-L where the machine has it, and without. */
const ENGINES: ReadonlyArray<readonly [string, () => Unpacker]> = [
  ['the fastest library', () => nativeUnpacker(program)],
  ['zlib', () => nativeUnpacker(program, { zlib: true })]
]

/** A data device in a file. */
class FileSink implements DataSink {
  readonly #file: FileHandle
  taken = 0

  private constructor (file: FileHandle) {
    this.#file = file
  }

  static async create (): Promise<FileSink> {
    return new FileSink(await open(join(await mkdtemp(join(folder, 'device-')), 'data'), 'wx+'))
  }

  get direct (): NonNullable<DataSink['direct']> {
    return {
      file: this.#file.fd,
      take: async (offset, length, take) => {
        this.taken += length
        return await take(offset)
      }
    }
  }

  async write (offset: number, bytes: Uint8Array): Promise<void> {
    await this.#file.write(bytes, 0, bytes.byteLength, offset)
  }

  async move (from: number, to: number, length: number): Promise<void> {
    const bytes = Buffer.alloc(length)
    await this.#file.read(bytes, 0, length, from)
    await this.write(to, bytes)
  }

  async data (): Promise<Buffer> {
    const { size } = await this.#file.stat()
    const bytes = Buffer.alloc(size)
    await this.#file.read(bytes, 0, size, 0)
    await this.#file.close()
    return bytes
  }

  async close (): Promise<void> {
    await this.#file.close()
  }
}

function layerOf (blob: Uint8Array, plain: Uint8Array, more: Partial<LayerBlob> = {}): LayerBlob {
  return { stream: pieces(blob, 100_000), digest: digestOf(blob), size: blob.byteLength, diffId: digestOf(plain), mediaType: GZIP, ...more }
}

async function here (layer: LayerBlob): Promise<{ index: LayerIndex, data: Buffer }> {
  const sink = new MemorySink()
  return { index: await indexPlainLayer({ ...layer, sink }), data: sink.data }
}

async function there (layer: LayerBlob, unpacker: Unpacker): Promise<{ index: LayerIndex, data: Buffer, taken: number }> {
  const sink = await FileSink.create()
  try {
    const index = await indexPlainLayer({ ...layer, sink, unpacker })
    return { index, data: await sink.data(), taken: sink.taken }
  } catch (error) {
    await sink.close()
    throw error
  }
}

/** Bytes that deflate makes a little of. */
function content (size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at < size; at += 64) bytes.writeUInt32LE((seed * 2_654_435_761 + at * 40_503) >>> 0, Math.min(at, size - 4 < 0 ? 0 : size - 4))
  return bytes
}

const SIZES = [0, 1, 511, 512, 5000, 65_535, 65_536, 98_305, 262_143, 262_144, 262_145, 700_000, 4 * KIB * KIB, 4 * KIB * KIB + 1, 9_000_001]

function archiveOf (sizes: readonly number[]): Buffer {
  return tar(...sizes.map((size, at) => {
    const data = size < 8 ? Buffer.alloc(size, at) : content(size, at)
    return at % 7 === 3 ? Buffer.concat([gnuLong('L', `${'long/'.repeat(40)}${at}`), entry('short', { data })]) : entry(`d/f${at % 11}`, { data })
  }))
}

describe.each(ENGINES)('with %s', (_, unpacker) => {
  test('index and data device are those of a pass on this thread, and large files never come here', async () => {
    const sizes = fc.array(fc.constantFrom(...SIZES), { minLength: 1, maxLength: 14 })
    await fc.assert(fc.asyncProperty(sizes, fc.integer({ min: 1, max: 3 }), async (sizes, members) => {
      const archive = archiveOf(sizes)
      const cut = (at: number): number => Math.floor(at * archive.length / members)
      const blob = Buffer.concat(Array.from({ length: members }, (_, at) => gzipSync(archive.subarray(cut(at), cut(at + 1)), { level: 1 })))
      const [one, other] = [await here(layerOf(blob, archive)), await there(layerOf(blob, archive), unpacker())]
      expect(Buffer.compare(encodeIndex(other.index), encodeIndex(one.index))).toBe(0)
      expect(flatten(other.index, contentsOfDevice(other.index, other.data))).toEqual(flatten(one.index, contentsOfDevice(one.index, one.data)))
      if (sizes.some((size) => size > 200 * KIB)) expect(other.taken).toBeGreaterThan(0)
    }), { numRuns: 25 })
  }, 120_000)

  test('sparse files and gaps end where they do on this thread', async () => {
    const pax = { 'GNU.sparse.size': '3000000', 'GNU.sparse.map': '1000,400000,2500000,300000' }
    const archive = tar(
      entry('gone', { data: content(400_000, 1) }), entry('s', { pax, data: content(700_000, 2) }),
      entry('link', { type: '1', link: 's' }), entry('big', { data: content(1_000_000, 3) }), entry('gone', { type: '2', link: 's' }))
    const blob = gzipSync(archive)
    const [one, other] = [await here(layerOf(blob, archive)), await there(layerOf(blob, archive), unpacker())]
    expect(Buffer.compare(encodeIndex(other.index), encodeIndex(one.index))).toBe(0)
    expect(flatten(other.index, contentsOfDevice(other.index, other.data))).toEqual(flatten(one.index, contentsOfDevice(one.index, one.data)))
  })

  const archive = archiveOf([5000, 700_000, 262_145, 65_536, 300_000])
  const blob = gzipSync(archive)

  test('every wrong byte of a blob is found out: it is not the layer, or its gzip data is wrong', async () => {
    for (let at = 0; at < blob.length; at += Math.ceil(blob.length / 40)) {
      const wrong = Buffer.from(blob)
      wrong[at] = (wrong[at] ?? 0) ^ 0x55
      expect(await lineOf(there(layerOf(wrong, archive, { digest: digestOf(blob) }), unpacker()))).toMatch(/^DIGEST_MISMATCH: .*want sha256:\w+, got sha256:/)
      // Its publisher vouches for these bytes, which do not inflate to the tar.
      expect(await lineOf(there(layerOf(wrong, archive), unpacker()))).toMatch(/^(LAYER_INVALID|DIFFID_MISMATCH)/)
    }
    const trailer = Buffer.from(blob)
    trailer.writeUInt32LE(7, blob.length - 8)
    expect(await lineOf(there(layerOf(trailer, archive), unpacker()))).toMatch(/^LAYER_INVALID: layer .*gzip data: .*near byte \d+$/)
  })

  test('cut, longer and foreign blobs end as they do on this thread', async () => {
    const wrong: Array<readonly [Uint8Array, RegExp]> = [
      [blob.subarray(0, blob.length - 1), /^LAYER_INVALID: .*the gzip data is cut$/],
      [blob.subarray(0, 30_00), /^LAYER_INVALID: .*the gzip data is cut$/],
      [Buffer.concat([blob, Buffer.alloc(10)]), /^LAYER_INVALID: .*data after the last gzip member/],
      [gzipSync('no tar at all'.repeat(100)), /^LAYER_INVALID: .*tar offset 0/],
      [gzipSync(archive.subarray(0, 400_000)), /^LAYER_INVALID: .*the tar ends in the middle of an entry$/],
      [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]), /^MEDIA_TYPE_UNSUPPORTED/],
      [randomBytes(5000).fill(1, 0, 1), /^LAYER_INVALID/]
    ]
    for (const [bytes, line] of wrong) {
      expect(await lineOf(there(layerOf(bytes, archive), unpacker()))).toMatch(line)
      expect(await lineOf(there(layerOf(bytes, archive, { digest: OTHER }), unpacker()))).toMatch(/^DIGEST_MISMATCH/)
    }
  })

  test('nothing is returned when digest, diffID or size differ, the tar is too large, or the caller gives up', async () => {
    const lines = async (more: Partial<LayerBlob>): Promise<string> => await lineOf(there(layerOf(blob, archive, more), unpacker()))
    expect(await lines({})).toBe('no error')
    expect(await lines({ digest: OTHER })).toBe(`DIGEST_MISMATCH: layer ${OTHER}: want ${OTHER}, got ${digestOf(blob)}`)
    expect(await lines({ diffId: OTHER })).toBe(`DIFFID_MISMATCH: layer ${digestOf(blob)}: want diffID ${OTHER}, got ${digestOf(archive)}`)
    expect(await lines({ size: blob.length - 1 })).toMatch(/^DIGEST_MISMATCH: .*got more$/)
    expect(await lines({ size: blob.length + 1 })).toMatch(/^DIGEST_MISMATCH: .*want \d+ bytes, got \d+$/)
    expect(await lines({ unpackedBytesMax: archive.length - 1 })).toMatch(/^LIMIT_EXCEEDED: .* unpacks to more than \d+ bytes/)
    expect(await lines({ signal: AbortSignal.abort() })).toMatch(/^CANCELLED/)
    expect(await lines({ mediaType: 'application/octet-stream' })).toMatch(/^MEDIA_TYPE_UNSUPPORTED/)
  })

  test('a source that breaks off is what fails, and no process stays', async () => {
    async function * broken (): AsyncGenerator<Uint8Array> {
      yield blob.subarray(0, 20_000)
      throw new Error('the line went')
    }
    expect(await lineOf(there(layerOf(blob, archive, { stream: broken() }), unpacker()))).toMatch(/the line went/)
    await gone()
  })
})

/** Until no child of ours unpacks. */
async function gone (): Promise<void> {
  const running = (): string => spawnSync('pgrep', ['-P', String(process.pid), '-f', 'native unpack']).stdout.toString()
  for (let turn = 0; turn < 200 && running() !== ''; turn++) await new Promise((resolve) => { setTimeout(resolve, 10) })
  expect(running()).toBe('')
}

test('a process that is killed in the middle fails its pass, and nothing hangs', async () => {
  const archive = archiveOf([9_000_001, 700_000])
  const blob = gzipSync(archive)
  async function * source (): AsyncGenerator<Uint8Array> {
    yield blob.subarray(0, 10_000)
    execFileSync('pkill', ['-KILL', '-P', String(process.pid), '-f', 'native unpack'])
    for (let at = 10_000; at < blob.length; at += 1000) yield blob.subarray(at, at + 1000)
  }
  expect(await lineOf(there(layerOf(blob, archive, { stream: source() }), nativeUnpacker(program)))).toMatch(/^INTERNAL: the process that unpacks a layer died/)
  expect(await lineOf(there(layerOf(blob, archive), nativeUnpacker('/nowhere/native')))).toMatch(/^INTERNAL: the process that unpacks a layer died/)
})

test('a disk that is full is told as such', async () => {
  const full = await open('/dev/full', 'w')
  const archive = archiveOf([700_000])
  const sink: DataSink = { write: async () => {}, move: async () => {}, direct: { file: full.fd, take: async (offset, _, take) => await take(offset) } }
  await expect(indexPlainLayer({ ...layerOf(gzipSync(archive), archive), sink, unpacker: nativeUnpacker(program) })).rejects.toMatchObject({ code: 'ENOSPC' })
  await full.close()
})

test('a cache without room keeps what came before it full, and marks the rest as missing', async () => {
  const archive = archiveOf([700_000, 700_000, 700_000])
  const blob = gzipSync(archive)
  let room = 1_000_000
  const inside = await mkdtemp(join(folder, 'room-'))
  const data = await DataFile.create(inside, async (bytes) => {
    if (bytes > room) return null
    room -= bytes
    return () => {}
  })
  const index = await indexPlainLayer({ ...layerOf(blob, archive), sink: data, unpacker: nativeUnpacker(program) })
  await data.close()
  expect(Buffer.compare(encodeIndex(index), encodeIndex((await here(layerOf(blob, archive))).index))).toBe(0)
  expect(room).toBe(300_000)
})

/** Files that are larger than a block, without the blocks. */
class WholeBlobs extends MemoryBlocks {
  readonly blobs = new Map<string, Buffer>()

  override async openFile (cid: CID): Promise<UnixfsFile> {
    const blob = this.blobs.get(cid.toString()) ?? Buffer.alloc(0)
    const part = (offset: number, length: number): Buffer => blob.subarray(offset, offset + length)
    return { cid, size: blob.length, read: async (offset, length) => verified(part(offset, length)), stream: (offset, length) => pieces(part(offset, length)) }
  }
}

test('a daemon has large plain layers unpacked so, and small ones not; the cache holds the same', async () => {
  const blocks = new WholeBlobs()
  const layers = [randomBytes(UNPACK_BYTES_MIN), randomBytes(300_000)].map((data): PlannedLayer & { readonly data: Buffer } => {
    const archive = tar(entry('small', { data: 'x' }), entry('large', { data }))
    const blob = gzipSync(archive)
    const [digest, diffId] = [digestOf(blob), digestOf(archive)]
    blocks.blobs.set(rawCidOf(digest).toString(), blob)
    return { digest, diffId, chainId: diffId, mediaType: GZIP, size: blob.byteLength, annotations: {}, cid: rawCidOf(digest), data }
  })
  const root = await mkdtemp(join(folder, 'root-'))
  const store = new LayerStore({ root, seal: await Seal.at(join(root, 'key')), log: silentLog })
  await store.open()
  const unpacked: number[] = []
  const unpacker: Unpacker = (blob, data) => {
    unpacked.push(data)
    return nativeUnpacker(program)(blob, data)
  }
  const opener = new LayerOpener({ store, log: silentLog, unpacker })
  for (const layer of layers) {
    const { record: { index }, cacheFolder, saved } = await opener.open(layer, blocks)
    await saved
    const contents = contentsOfDevice(index, await readFile(join(cacheFolder, 'data')))
    expect(layer.data.equals(contents(inodeAt(index, 'large')))).toBe(true)
    expect((await readFile(join(cacheFolder, 'present'))).every((mark) => mark === 1)).toBe(true)
  }
  expect(unpacked).toHaveLength(1)
})

test('orders that make no sense end the process with one line', () => {
  const order = (kind: number, prefix: number, length: bigint): string => {
    const bytes = Buffer.alloc(24)
    bytes.writeUInt32LE(kind, 0)
    bytes.writeUInt32LE(prefix, 4)
    bytes.writeBigUInt64LE(length, 8)
    const path = join(folder, `order-${kind}`)
    writeFileSync(path, bytes)
    const file = openSync(path, 'r')
    const { status, stderr } = spawnSync(program, ['unpack', '--chunk-bytes', '4096'], { stdio: ['ignore', 'pipe', 'pipe', file] })
    closeSync(file)
    return `${status ?? 'killed'} ${stderr.toString().trim()}`
  }
  expect(order(9, 0, 0n)).toBe('1 EINVAL: order 9')
  expect(order(1, 0, 1n << 40n)).toBe('1 EINVAL: a READ of 1099511627776 bytes')
  expect(order(2, 4097, 0n)).toBe('1 EINVAL: a prefix of 4097 bytes')
  expect(spawnSync(program, ['unpack']).stderr.toString()).toMatch(/^EINVAL: --chunk-bytes/)
})
