import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { execFileSync } from 'node:child_process'
import {
  chmodSync, closeSync, linkSync, lstatSync, lutimesSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync,
  symlinkSync, truncateSync, writeFileSync, writeSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { openEstargz } from '../../src/layer/estargz.ts'
import { indexPlainLayer } from '../../src/layer/plain-layer.ts'
import { proveLayer } from '../../src/layer/prove.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { estargz, type Item } from './estargz-writer.ts'
import { MemorySink, pieces, rangeReader, sha256Hex } from './fixtures.ts'
import { flatten } from './flatten.ts'
import { indexTar } from './index-tar.ts'
import { entry, tar, type TarOptions } from './tar-writer.ts'

interface Model {
  readonly kind: 'file' | 'dir' | 'symlink' | 'fifo' | 'char'
  readonly path: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly seconds: number
  readonly nanoseconds: number
  /** Described, not held: counterexamples should fit a screen. */
  readonly content: { readonly size: number, readonly text: string }
  readonly xattr: Uint8Array | null
}

const name = fc.oneof(fc.stringMatching(/^[a-z]{1,3}$/),
  fc.constantFrom('ä', '\u{1F600}', 'with space', 'new\nline', 'n'.repeat(200), '-', '.hidden', '...'))
const model = fc.record({
  kind: fc.constantFrom('file', 'file', 'file', 'dir', 'symlink', 'fifo', 'char'),
  path: fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2 ** 32 - 2 })),
  gid: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2 ** 32 - 2 })),
  seconds: fc.oneof(fc.integer({ min: 0, max: 2 ** 31 }), fc.integer({ min: 0, max: 9_223_372_035 })),
  nanoseconds: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 999_999_999 })),
  content: fc.record({
    size: fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.constantFrom(0, 512, 4096, 262_144, 600_000)),
    text: fc.stringMatching(/^[a-z]{1,9}$/)
  }),
  xattr: fc.option(fc.uint8Array({ maxLength: 40 }))
}) as fc.Arbitrary<Model>

/** Models that do not contradict each other: one entry per path, and nothing below what is no directory. */
const layer = fc.array(model, { maxLength: 25 }).map((models) => {
  const byPath = new Map(models.map((one) => [one.path, one]))
  const parents = (path: string): string[] => path.split('/').slice(0, -1).map((_, i) => path.split('/').slice(0, i + 1).join('/'))
  return [...byPath.values()].filter(({ path }) => parents(path).every((parent) => (byPath.get(parent)?.kind ?? 'dir') === 'dir'))
})

const TYPES = { file: '0', dir: '5', symlink: '2', fifo: '6', char: '3' } as const

function contentOf ({ content: { size, text } }: Model): Buffer {
  return Buffer.alloc(size, text)
}

function tarOptions (one: Model): TarOptions {
  const pax: Record<string, string | Uint8Array> = {
    path: one.path, uid: String(one.uid), gid: String(one.gid), mtime: `${one.seconds}.${String(one.nanoseconds).padStart(9, '0')}`
  }
  if (one.xattr !== null) pax['SCHILY.xattr.security.test'] = one.xattr
  return {
    type: TYPES[one.kind], mode: one.mode, pax, ...(one.kind === 'file' ? { data: contentOf(one) } : {}),
    ...(one.kind === 'symlink' ? { link: 'target' } : {}), ...(one.kind === 'char' ? { major: 5, minor: 1 } : {})
  }
}

function want (models: readonly Model[]): Map<string, object> {
  return new Map(models.map((one) => [`/${one.path}`, {
    path: `/${one.path}`,
    type: one.kind,
    mode: one.kind === 'symlink' ? '0777' : `0${one.mode.toString(8).padStart(3, '0')}`,
    uid: one.uid,
    gid: one.gid,
    mtimeNs: String(BigInt(one.seconds) * 1_000_000_000n + BigInt(one.nanoseconds)),
    implied: false,
    ...(one.kind === 'file' ? { size: one.content.size, nlink: 1, sha256: sha256Hex(contentOf(one)) } : {}),
    ...(one.kind === 'symlink' ? { target: 'target' } : {}),
    ...(one.kind === 'char' ? { rdev: [5, 1] } : {}),
    ...(one.xattr !== null ? { xattrs: { 'security.test': Buffer.from(one.xattr).toString('hex') } } : {})
  }]))
}

describe('random layers', () => {
  test('as tar come back as they were made, in pieces of any size, with no file moved', async () => {
    await fc.assert(fc.asyncProperty(layer, fc.integer({ min: 1, max: 200_000 }), async (models, pieceBytes) => {
      const { flat, sink } = await indexTar(tar(...models.map((one) => entry('x', tarOptions(one)))), Math.max(pieceBytes, 64))

      expect(new Map([...flat].filter(([, { implied }]) => !implied))).toEqual(want(models))
      expect(sink.moves).toBe(0)
    }), { numRuns: 60 })
  })

  test('as eStargz come back the same, and are proven', async () => {
    await fc.assert(fc.asyncProperty(layer, fc.integer({ min: 500, max: 300_000 }), fc.boolean(), async (models, chunkBytes, oneMember) => {
      const built = estargz(models.map(asItem), { chunkBytes, oneMember })
      const index = await openEstargz(rangeReader(built.blob), built.size, built.tocDigest)
      const { flat } = await indexTar(tar(...models.map((one) => entry('x', tarOptions(one)))))

      expect(withoutHashes(flatten(index, () => new Uint8Array(0)))).toEqual(withoutHashes(flat))
      await proveLayer({
        stream: pieces(built.blob), digest: built.digest, size: built.size, diffId: built.diffId,
          mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
        toc: { index, digest: built.tocDigest }
      })
    }), { numRuns: 40 })
  })

  function asItem (one: Model): Item {
    return {
      name: 'x',
      ...tarOptions(one),
      toc: {
        name: one.path, uid: one.uid, gid: one.gid,
          xattrs: one.xattr === null ? undefined : { 'security.test': Buffer.from(one.xattr).toString('base64') },
        modtime: `${new Date(one.seconds * 1000).toISOString().slice(0, 19)}.${String(one.nanoseconds).padStart(9, '0')}Z`
      }
    }
  }

  function withoutHashes (flat: ReadonlyMap<string, object>): Array<[string, object]> {
    return [...flat].map(([path, entry]) => [path, { ...entry, sha256: '' }])
  }
})

describe('whatever bytes arrive', () => {
  const base = tar(entry('d/', { type: '5' }), entry('d/a', { data: 'abc', pax: { mtime: '1.5', 'SCHILY.xattr.user.x': 'y' } }),
    entry('l', { type: '1', link: 'd/a' }))
  const change = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 8 })
  const changed = (bytes: Uint8Array, changes: ReadonlyArray<[number, number]>): Buffer => {
    const copy = Buffer.from(bytes)
    for (const [at, value] of changes) copy[at % copy.byteLength] = value
    return copy
  }
  const settles = async (work: Promise<unknown>): Promise<void> => {
    const error: unknown = await work.then(() => null, (error: unknown) => error)
    if (error !== null && !isSnapshotterError(error)) throw error as Error
  }

  test('a damaged tar gives an index or one of our errors', async () => {
    await fc.assert(fc.asyncProperty(change, fc.boolean(), async (changes, checksums) => {
      const blob = changed(base, changes)
      // With checksums that match, the damage reaches the parser behind them.
      if (checksums) for (let at = 0; at + 512 <= blob.byteLength - 1024; at += 512) fixSum(blob.subarray(at, at + 512))
      await settles(indexTar(blob))
    }), { numRuns: 400 })
  })

  test('a damaged gzip blob gives an index or one of our errors', async () => {
    const blob = Buffer.concat([gzipSync(base.subarray(0, 1000)), gzipSync(base.subarray(1000))])
    await fc.assert(fc.asyncProperty(change, async (changes) => {
      const bad = changed(blob, changes)
      await settles(indexPlainLayer({
        stream: pieces(bad, 100), digest: digestOf(bad), size: bad.byteLength, diffId: digestOf(base),
        mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', sink: new MemorySink()
      }))
    }), { numRuns: 200 })
  })

  test('a damaged TOC whose digest matches gives an index or one of our errors', async () => {
    const items = [{ name: 'd/', type: '5' }, { name: 'd/a', data: 'abcdef' }, { name: 'l', type: '1', link: 'd/a' }]
    const text = fc.constantFrom('"', '{', '}', '[', ']', ',', ':', '0', '-1', '1e9', 'null', '\\u0000', '..', '/', 'true', '"chunk"',
      '"reg"', '9'.repeat(20))
    await fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.nat(), text, fc.nat({ max: 6 })), { minLength: 1, maxLength: 3 }),
      async (edits) => {
      const changeJson = (json: string): string => edits.reduce((text, [at, part, drop]) => {
        const from = at % text.length
        return text.slice(0, from) + part + text.slice(from + drop)
      }, json)
      const built = estargz(items, { changeJson, chunkBytes: 4 })
      await settles(openEstargz(rangeReader(built.blob), built.size, built.tocDigest))
    }), { numRuns: 400 })
  })

  function fixSum (block: Buffer): void {
    if (block.subarray(257, 262).toString() !== 'ustar') return
    block.fill(0x20, 148, 156)
    block.write(`${block.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  }
})

const gnuTar = hasGnuTar()
if (!gnuTar) process.stderr.write('skipped: GNU tar is not on PATH\n')

;(gnuTar ? describe : describe.skip)('GNU tar', () => {
  const directory = mkdtempSync(join(tmpdir(), 'layer-gnu-'))
  beforeAll(() => { makeFiles() })
  afterAll(() => { rmSync(directory, { recursive: true }) })

  test.each([
    ['pax, sparse 1.0', ['--format=pax', '--sparse']], ['pax, sparse 0.1', ['--format=pax', '--sparse', '--sparse-version=0.1']],
    ['pax, sparse 0.0', ['--format=pax', '--sparse', '--sparse-version=0.0']], ['gnu, old sparse', ['--format=gnu', '--sparse']],
    ['gnu', ['--format=gnu']], ['oldgnu', ['--format=oldgnu', '--sparse']], ['ustar', ['--format=ustar']], ['v7', ['--format=v7']]
  ])('%s is read as the files are on disk', async (format, options) => {
    const archive = execFileSync('tar',
      [...options, '--sort=name', '-cf', '-', '-C', join(directory, /ustar|v7/.test(format) ? 'old' : ''), '.'], { maxBuffer: 1 << 28 })
    if (options.includes('--sparse') && format !== 'ustar') expect(archive.byteLength).toBeLessThan(1_000_000)
    const { flat } = await indexTar(archive)
    const found = new Map([...flat].filter(([path]) =>
      path !== '/').map(([path, { type, mode, size, sha256, nlink, target, mtimeNs }]) => [path, {
      type, mode: type === 'symlink' ? '' : mode, size, sha256, nlink, target,
        mtime: format.startsWith('pax') ? mtimeNs : mtimeNs.slice(0, -9)
    }]))

    expect(found).toEqual(onDisk(join(directory, /ustar|v7/.test(format) ? 'old' : ''), format.startsWith('pax')))
  }, 30_000)

  /** What every format can hold stands in `old`. */
  function makeFiles (): void {
    const at = (path: string): string => join(directory, path)
    mkdirSync(at('old/d/sub'), { recursive: true })
    writeFileSync(at('old/d/file'), Buffer.alloc(70_000, 'content'))
    writeFileSync(at('old/d/empty'), '')
    writeFileSync(at('old/d/exactly'), Buffer.alloc(1024, 'x'))
    linkSync(at('old/d/file'), at('old/d/sub/hard'))
    symlinkSync('../d/file', at('old/link'))
    chmodSync(at('old/d/sub'), 0o1777)
    chmodSync(at('old/d/exactly'), 0o4750)
    lutimesSync(at('old/d/empty'), 1, 1_234_567_890.25)
    lutimesSync(at('old/link'), 1, 2_500_000_000)

    const deep = `${'p'.repeat(120)}/${'q'.repeat(120)}`
    mkdirSync(at(deep), { recursive: true })
    writeFileSync(at(`${deep}/${'r'.repeat(200)}`), 'deep')
    symlinkSync('t'.repeat(300), at('long-link'))
    execFileSync('mkfifo', [at('fifo')])
    for (const [path, pieces] of [['sparse', 3], ['very-sparse', 30], ['hole', 0]] as const) makeSparse(at(path), pieces)
  }

  function makeSparse (path: string, pieces: number): void {
    const file = openSync(path, 'w')
    for (let i = 0; i < pieces; i++) writeSync(file, Buffer.alloc(4096, `p${i}`), 0, 4096, (i * 37 + 2) * 4096)
    closeSync(file)
    truncateSync(path, 5_000_001)
  }

  function onDisk (directory: string, nanoseconds: boolean): Map<string, object> {
    return new Map(readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((path) => {
      const full = join(directory, path)
      const stat = lstatSync(full, { bigint: true })
      const isFile = stat.isFile()
      return [`/${path}`, {
        type: isFile ? 'file' : stat.isDirectory() ? 'dir' : stat.isFIFO() ? 'fifo' : 'symlink',
        mode: stat.isSymbolicLink() ? '' : `0${(Number(stat.mode) & 0o7777).toString(8).padStart(3, '0')}`,
        size: isFile ? Number(stat.size) : undefined,
        sha256: isFile ? sha256Hex(readFileSync(full)) : undefined,
        nlink: isFile ? Number(stat.nlink) : undefined,
        target: stat.isSymbolicLink() ? readlinkSync(full) : undefined,
        mtime: String(nanoseconds ? stat.mtimeNs : stat.mtimeNs / 1_000_000_000n)
      }]
    }))
  }
})

function hasGnuTar (): boolean {
  try {
    return execFileSync('tar', ['--version']).toString().includes('GNU tar')
  } catch {
    return false
  }
}
