// The same tars through containerd's own applier (onto an overlay's upper directory) and through ours: equal trees, and
// what one refuses the other refuses. Needs root and containerd; xattrs are compared when getfattr is there.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { type BigIntStats, lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chainIds, digestOf } from '../../src/verify/digest.ts'
import { type ContainerdBinaries, containerdVersions, PrivateContainerd } from '../suites/containerd.ts'
import { lineOf } from './errors.ts'
import { sha256Hex } from './fixtures.ts'
import type { FlatEntry } from './flatten.ts'
import { indexTar } from './index-tar.ts'
import { entry, gnuLong, paxRecords, tar } from './tar-writer.ts'

const dir = (name: string, mode = 0o755): Buffer => entry(name, { type: '5', mode, mtime: 1_000_000 })
const file = (name: string, data = name): Buffer => entry(name, { data, mtime: 2_000_000 })
const symlink = (name: string, link: string): Buffer => entry(name, { type: '2', link, mtime: 3_000_000 })
const hardlink = (name: string, link: string, mode = 0o644): Buffer => entry(name, { type: '1', link, mode, mtime: 4_000_000 })

const ACCEPTED: Record<string, Buffer[]> = {
  'names of every spelling': [
    dir('./a/'), file('/a//b'), file('a/./c'), file('../../a/d'), file('a/x/../e'), dir('..'),
    entry('./', { type: '5', mode: 0o700, uid: 5 })
  ],
  'parents that no entry names': [file('p/q/r'), dir('s/t', 0o1777)],
  'parents behind symbolic links': [
    dir('usr/lib'), symlink('lib', 'usr/lib'), file('lib/x'), symlink('abs', '/usr/lib'), file('abs/y'), symlink('out', '../../../etc'),
    file('out/passwd'), symlink('dangling', 'made/here'), file('dangling/z'), symlink('usr/up', '..'), file('usr/up/top')
  ],
  // containerd sets a replaced directory's time on what replaced it, so both have the same here.
  replacements: [
    dir('d'), file('d/gone'), entry('d', { data: 'now a file', mtime: 1_000_000 }), file('f'), dir('f'), file('f/inside'),
    symlink('s', 'd'), file('s', 'now a file'), file('twice', '1'), file('twice', '2')
  ],
  'directories that merge': [
    dir('d', 0o700), file('d/stays'), entry('d', { type: '5', mode: 0o711, uid: 7, mtime: 9, pax: { 'SCHILY.xattr.user.b': '2' } })
  ],
  'hard links': [
    file('a', 'content'), hardlink('b', 'a', 0o600), dir('d'), hardlink('d/c', './b', 0o4755), symlink('s', 'nowhere'),
    hardlink('t', 's', 0o600), symlink('alias', 'd'), hardlink('e', 'alias/c'), file('a', 'another')
  ],
  whiteouts: [
    file('.wh.below'), dir('d'), entry('d/.wh.never', { uid: 9, gid: 8 }), file('d/.wh..wh..opq'), file('d/new'), file('.wh.back'),
    file('back'), file('.wh..wh.odd'), file('implied/.wh..wh..opq'), file('.wh.dir/inside')
  ],
  'special files': [
    entry('c', { type: '3', major: 1, minor: 3, mode: 0o666 }), entry('b', { type: '4', major: 4095, minor: 1_048_575 }),
    entry('p', { type: '6', mode: 0o600 }), entry('zero', { type: '3', major: 0, minor: 0 })
  ],
  'modes and owners': [entry('suid', { mode: 0o6755, uid: 1000, gid: 1001, data: 'x' }), entry('none', { mode: 0 }), dir('sticky', 0o3777),
    entry('big', { pax: { uid: '4294967294', gid: '3000000' } }), entry('odd', { mode: 0o100644 })],
  times: [
    entry('old', { pax: { mtime: '-1.5' } }), entry('epoch', { mtime: 0 }), entry('late', { pax: { mtime: '4102444800.123456789' } }),
    entry('negative', { mtime: -5 }), entry('far', { pax: { mtime: '9223372037' } })
  ],
  xattrs: [
    entry('f', {
      pax: {
        'SCHILY.xattr.user.bin': Uint8Array.of(0, 255, 10, 61),
        'SCHILY.xattr.user.empty': '',
        'SCHILY.xattr.trusted.x': 'no',
        'SCHILY.xattr.trusted.overlay.opaque': 'y',
        'LIBARCHIVE.xattr.user.l': 'YQ==',
        'SCHILY.xattr.security.capability': Buffer.from('0100000200040000000000000000000000000000', 'hex')
      }
    }),
    entry('l', { type: '2', link: 'f', pax: { 'SCHILY.xattr.user.a': 'no', 'SCHILY.xattr.security.b': 'yes' } }),
    entry('p', { type: '6', pax: { 'SCHILY.xattr.user.a': 'no' } })
  ],
  'headers of every kind': [
    entry('g', { type: 'g', data: paxRecords({ path: 'global', uid: '9' }) }), gnuLong('L', `long/${'n'.repeat(200)}`), file('short'),
    entry('old', { type: '\0', data: 'x' }), entry('olddir/', { type: '\0' }), entry('b', { prefix: 'prefix', data: 'y' }),
    entry('x', { pax: { path: '', mtime: '7.25' } }), entry('v7', { magic: '\0\0\0\0\0\0\0\0', data: 'z' }),
    entry('sparse', { data: 'AB', pax: sparse('5000', '10,1,4000,1') })
  ]
}

function sparse (size: string, map: string): Record<string, string> {
  return {
    'GNU.sparse.major': '0', 'GNU.sparse.minor': '1', 'GNU.sparse.size': size, 'GNU.sparse.map': map,
    'GNU.sparse.numblocks': String(map.split(',').length / 2)
  }
}

const REFUSED: Record<string, Buffer[]> = {
  'a hard link to nothing': [hardlink('b', 'a')],
  'a hard link to a directory': [dir('d'), hardlink('b', 'd')],
  'a hard link to itself': [file('a'), hardlink('a', 'a')],
  'an entry below a file': [file('a'), file('a/b')],
  'an entry below a whiteout': [file('.wh.a'), file('a/b')],
  'a whiteout of what the layer holds': [file('a'), file('.wh.a')],
  'a whiteout of nothing': [file('d/.wh.')],
  'a whiteout of the parent': [file('d/.wh...')],
  'a contiguous file': [entry('a', { type: '7' })],
  'an unknown type': [entry('a', { type: 'V' })],
  'a wrong checksum': [entry('a', {}).fill(0x31, 148, 154)],
  'a malformed PAX record': [entry('pax', { type: 'x', data: '99 path=x\n' }), file('a')],
  'a zero block among the entries': [file('a'), Buffer.alloc(512), file('b')],
  'links in a circle': [symlink('a', 'b'), symlink('b', 'a'), file('a/f')],
  'an xattr without a name': [entry('a', { pax: { 'SCHILY.xattr.user.': 'x' } })]
}

type Entry = Record<string, unknown>

const [binaries] = containerdVersions()
const getfattr = hasGetfattr()

;(binaries === undefined ? describe.skip : describe)('containerd', () => {
  let containerd: PrivateContainerd
  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'apply-'))
    containerd = await PrivateContainerd.start({ folder, binaries: binaries as ContainerdBinaries, snapshotters: {} })
  }, 30_000)
  afterAll(async () => { await containerd.stop() })

  test.each(Object.entries(ACCEPTED))('and we apply alike: %s', async (_what, entries) => {
    const archive = tar(...entries)
    const upper = await apply(archive)

    expect(await ours(archive)).toEqual(onDisk(upper))
  }, 60_000)

  test.each(Object.entries(REFUSED))('and we refuse alike: %s', async (_what, entries) => {
    const archive = tar(...entries)

    await expect(apply(archive)).rejects.toThrow(/ctr .*import/)
    expect(await lineOf(indexTar(archive))).toMatch(/^(LAYER_INVALID|LIMIT_EXCEEDED): /)
  }, 60_000)

  /** Imports an image whose second layer is `archive`; gives the upper directory that containerd made of it. */
  async function apply (archive: Buffer): Promise<string> {
    const base = tar(file('lower'))
    const diffIds = [base, archive].map(digestOf)
    const name = `example.org/${diffIds[1]?.slice(7, 20) ?? ''}:1`
    const path = join(containerd.folder, 'image.tar')
    writeFileSync(path, ociArchive(name, [base, archive]))
    await containerd.ctr('images', 'import', '--snapshotter', 'overlayfs', path)
    const chain = chainIds(diffIds)[1] ?? ''
    // In one call: the next garbage collection takes the view.
    const mounts = await containerd.ctr('snapshots', '--snapshotter', 'overlayfs', 'view', '--mounts', `view-${chain}`, chain)
    const upper = /lowerdir=([^:,"]+)/.exec(mounts)?.[1]
    if (upper === undefined) throw new Error(`no lower directory: ${mounts}`)
    return upper
  }
})

function ociArchive (name: string, layers: readonly Buffer[]): Buffer {
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch
  const blobs = new Map<string, Buffer>()
  const add = (kind: string, data: Buffer | object): object => {
    const bytes = Buffer.isBuffer(data) ? data : Buffer.from(JSON.stringify(data))
    const mediaType = `application/vnd.oci.image.${kind}`
    blobs.set(digestOf(bytes), bytes)
    return { mediaType, digest: digestOf(bytes), size: bytes.byteLength }
  }
  const platform = { architecture, os: 'linux' }
  const config = add('config.v1+json', { ...platform, rootfs: { type: 'layers', diff_ids: layers.map(digestOf) } })
  const manifest = add('manifest.v1+json', { schemaVersion: 2, config, layers: layers.map((layer) => add('layer.v1.tar', layer)) })
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations: { 'io.containerd.image.name': name }, platform }] }
  return tar(
    entry('oci-layout', { data: '{"imageLayoutVersion":"1.0.0"}' }), entry('index.json', { data: JSON.stringify(index) }),
    ...[...blobs].map(([digest, data]) => entry(`blobs/sha256/${digest.slice(7)}`, { data }))
  )
}

/** Root and implied directories have the time of the applying: left out. */
async function ours (archive: Buffer): Promise<Map<string, Entry>> {
  const { flat } = await indexTar(archive)
  return new Map([...flat].map(([path, entry]) => {
    const shown: Entry = { ...entry, mtimeNs: isUndated(path, entry) ? '' : entry.mtimeNs }
    for (const key of ['path', 'implied', ...getfattr ? [] : ['xattrs']]) Reflect.deleteProperty(shown, key)
    return [path, shown]
  }))
}

function isUndated (path: string, { implied, type, rdev }: FlatEntry): boolean {
  return path === '/' || implied || (type === 'char' && rdev?.[0] === 0 && rdev[1] === 0) // containerd gives whiteouts the present
}

/** By hand: readdir's own recursion follows symbolic links. */
function walk (root: string, below: string): string[] {
  const entries = readdirSync(join(root, below), { withFileTypes: true })
  return [below, ...entries.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name))).flatMap((entry) => {
    const path = below === '' ? entry.name : `${below}/${entry.name}`
    return entry.isDirectory() ? walk(root, path) : [path]
  })]
}

function onDisk (root: string): Map<string, Entry> {
  const seen = new Map<string, string>()
  return new Map(walk(root, '').map((name) => {
    const stat = lstatSync(join(root, name), { bigint: true })
    const path = `/${name}`
    const first = seen.get(String(stat.ino)) ?? path
    seen.set(String(stat.ino), first)
    const isFile = stat.isFile()
    const isDevice = stat.isCharacterDevice() || stat.isBlockDevice()
    const rdev = Number(stat.rdev)
    const device: [number, number] = [rdev >> 8 & 0xfff, (rdev & 0xff) | (Math.floor(rdev / 0x100000) << 8 & 0xfff00)]
    const xattrs = getfattr ? xattrsOf(join(root, name)) : {}
    // The tests date what they write before 2020: what is younger was dated by containerd.
    const isYoung = stat.mtimeNs > 1_577_836_800_000_000_000n && stat.mtimeNs < 4_000_000_000_000_000_000n
    return [path, {
      type: typeOf(stat),
      mode: `0${(Number(stat.mode) & 0o7777).toString(8).padStart(3, '0')}`,
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtimeNs: path === '/' || isYoung || (isDevice && rdev === 0) ? '' : String(stat.mtimeNs),
      ...(isFile ? { size: Number(stat.size), nlink: Number(stat.nlink), sha256: sha256Hex(readFileSync(join(root, name))) } : {}),
      ...(isFile && stat.nlink > 1n ? { sameFileAs: first } : {}),
      ...(stat.isSymbolicLink() ? { target: readlinkSync(join(root, name)) } : {}),
      ...(isDevice ? { rdev: device } : {}),
      ...(Object.keys(xattrs).length > 0 ? { xattrs } : {})
    }]
  }))
}

function typeOf (stat: BigIntStats): string {
  if (stat.isFile()) return 'file'
  if (stat.isDirectory()) return 'dir'
  if (stat.isSymbolicLink()) return 'symlink'
  if (stat.isFIFO()) return 'fifo'
  return stat.isBlockDevice() ? 'block' : 'char'
}

function xattrsOf (path: string): Record<string, string> {
  const text = execFileSync('getfattr', ['--absolute-names', '-h', '-d', '-m', '-', '-e', 'hex', path], { encoding: 'utf8' })
  return Object.fromEntries(text.split('\n').flatMap((line) => {
    const match = /^([a-z][^=]*)(?:=(?:0x([0-9a-f]*)|""))?$/.exec(line)
    return match === null ? [] : [[match[1] ?? '', match[2] ?? '']]
  }))
}

function hasGetfattr (): boolean {
  try {
    execFileSync('getfattr', ['--version'])
    return true
  } catch {
    process.stderr.write('xattrs are not compared with containerd: no getfattr\n')
    return false
  }
}
