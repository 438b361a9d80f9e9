// The builder without a kernel: same bytes for the same input, the header's fields, and what it refuses.
import { describe, expect, test } from '@jest/globals'
import { hash } from 'node:crypto'
import { hasCode } from '../../src/base/errors.ts'
import { buildErofs } from '../../src/erofs/build-erofs.ts'
import { crc32cWithoutFinalInversion } from '../../src/erofs/crc32c.ts'
import { xxh32 } from '../../src/erofs/xxh32.ts'
import { layoutData } from '../../src/layer/data-layout.ts'
import type { Inode, LayerIndex } from '../../src/layer/layer-index.ts'
import { UUID } from '../suites/erofs-mounts.ts'
import { type Attributes, type Description, layerFrom } from '../suites/layer-from-tree.ts'
import { forRandomTrees } from '../suites/random-trees.ts'

type Form = 'two-devices' | 'one-file'

function build (index: LayerIndex, form: Form = 'two-devices', uuid = UUID): Buffer {
  return Buffer.from(buildErofs(index, layoutData(index), { form, uuid }))
}

function indexOf (entries: Record<string, Description>, rest: Attributes = {}): LayerIndex {
  return layerFrom({ kind: 'directory', entries, ...rest }).index
}

function file (rest: Attributes = {}): Description {
  return { kind: 'file', content: Buffer.from('abc'), ...rest }
}

/** The one inode of an index with one entry, changed. */
function changed (change: Partial<Inode>, description: Description = file()): LayerIndex {
  const index = indexOf({ a: description })
  return { ...index, inodes: index.inodes.map((inode, position) => position === 1 ? { ...inode, ...change } : inode) }
}

function codeOf (run: () => unknown): string {
  try {
    run()
    return 'nothing'
  } catch (error) {
    for (const code of ['LAYER_INVALID', 'LIMIT_EXCEEDED', 'INVALID_ARGUMENT', 'INTERNAL'] as const) if (hasCode(error, code)) return code
    throw error
  }
}

describe('the same input gives the same bytes', () => {
  test('for random trees, and in a copy of the index whose inodes are other objects', async () => {
    await forRandomTrees(60, async (tree) => {
      const { index } = layerFrom(tree)
      const copy = { ...index, inodes: index.inodes.map((inode) => ({ ...inode, xattrs: inode.xattrs.map((xattr) => ({ ...xattr })) })) }
      for (const form of ['two-devices', 'one-file'] as const) expect(build(copy, form).equals(build(index, form))).toBe(true)
    })
  })

  test('today and tomorrow: a change of these digests changes every cached image', () => {
    const index = indexOf({
      file: file({ mtime: [1, 2], xattrs: { 'user.a': 'b' } }),
      link: { kind: 'symlink', target: 'file' },
      sub: { kind: 'directory', entries: { x: { kind: 'fifo' } } }
    })
    const digests = (['two-devices', 'one-file'] as const).map((form) => hash('sha256', build(index, form)).slice(0, 16))

    expect(digests).toEqual(['02b981b276c83d34', 'd82c00ea3466bdd7'])
  })

  test('and another UUID changes nothing else but the checksum', () => {
    const index = indexOf({ a: file() })
    const other = build(index, 'two-devices', new Uint8Array(16).fill(9))
    const differing = [...build(index)].flatMap((byte, at) => byte === other[at] ? [] : [at])

    expect(differing.filter((at) => !(at >= 1072 && at < 1088) && !(at >= 1028 && at < 1032))).toEqual([])
  })
})

describe('the superblock', () => {
  test('of two devices has a table with the data right behind the metadata', () => {
    const image = build(indexOf({ a: file() }))

    expect(image.length % 4096).toBe(0)
    expect(image.readUInt32LE(1024)).toBe(0xE0F5E1E2)
    expect({ incompat: image.readUInt32LE(1104), devices: image.readUInt16LE(1110), slot: image.readUInt16LE(1112) })
      .toEqual({ incompat: 8, devices: 1, slot: 9 })
    expect({ blocks: image.readUInt32LE(1060), dataBlocks: image.readUInt32LE(1152 + 64), uniaddr: image.readUInt32LE(1152 + 68) })
      .toEqual({ blocks: image.length / 4096, dataBlocks: 1, uniaddr: image.length / 4096 })
  })

  test('of one file has no table and counts all blocks', () => {
    const image = build(indexOf({ a: file() }), 'one-file')

    expect({ incompat: image.readUInt32LE(1104), devices: image.readUInt16LE(1110), slot: image.readUInt16LE(1112) })
      .toEqual({ incompat: 0, devices: 0, slot: 0 })
    expect(image.readUInt32LE(1060)).toBe(image.length / 4096 + 1)
  })

  test('carries a checksum over the rest of its block', () => {
    const image = build(indexOf({ a: file() }))
    const saved = image.readUInt32LE(1028)
    image.writeUInt32LE(0, 1028)

    expect(crc32cWithoutFinalInversion(image.subarray(1024, 4096))).toBe(saved)
  })
})

test('inodes whose time is the common one take 32 bytes, the others 64', () => {
  const at = (seconds: number): Description => ({ kind: 'directory', mtime: [seconds, 0], entries: {} })
  const uniform = build(indexOf(Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`d${i}`, at(5)])), { mtime: [5, 0] }))
  const mixed = build(indexOf(Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`d${i}`, at(i)])), { mtime: [5, 0] }))
  const formats = (image: Buffer): number[] => [...new Set(nidsOf(image).map((nid) => image.readUInt16LE(nid * 32) & 1))].sort()

  expect(formats(uniform)).toEqual([0])
  expect(formats(mixed)).toEqual([0, 1])
})

/** Of the root's entries, `.` and `..` included, while they fit one block. */
function nidsOf (image: Buffer): number[] {
  const root = image.readUInt16LE(1024 + 14) * 32
  const extended = image.readUInt16LE(root) & 1
  const entries = root + (extended === 1 ? 64 : 32)
  return Array.from({ length: image.readUInt16LE(entries + 8) / 12 }, (_, i) => image.readUInt32LE(entries + 12 * i))
}

test('a size of more than 32 bits takes a 64-byte inode, whatever its time', () => {
  const inodeOf = (size: number): Buffer => {
    const image = build(changed({ size }))
    const nid = nidsOf(image)[2] ?? 0 // behind `.` and `..`
    return image.subarray(nid * 32, nid * 32 + 64)
  }

  expect(inodeOf(2 ** 32 - 1).readUInt16LE(0) & 1).toBe(0)
  expect(inodeOf(2 ** 32).readUInt16LE(0) & 1).toBe(1)
  expect(inodeOf(2 ** 42 + 7).readBigUInt64LE(8)).toBe(2n ** 42n + 7n)
})

test('an attribute that many files carry is written once', () => {
  const xattrs = { 'security.selinux': 'system_u:object_r:a_rather_long_label_t:s0' }
  const labelled = (count: number): Buffer =>
    build(indexOf(Object.fromEntries(Array.from({ length: count }, (_, i) => [`f${i}`, file({ xattrs })]))))
  const occurrences = (image: Buffer): number => image.toString('latin1').split('a_rather_long_label_t').length - 1

  expect([1, 2, 500].map((count) => occurrences(labelled(count)))).toEqual([1, 1, 1])
})

test('more than 255 shared attributes on one file are still all there', () => {
  const xattrs = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`user.attribute-${i}`, `value-${String(i).padStart(4, '0')}`]))
  const image = build(indexOf({ a: file({ xattrs }), b: file({ xattrs, mode: 0o600 }) })).toString('latin1')

  expect(Object.values(xattrs).filter((value) => typeof value === 'string' && !image.includes(value))).toEqual([])
})

describe('what is no tree is refused as LAYER_INVALID', () => {
  const sub: Description = { kind: 'directory', entries: {} }
  const good = indexOf({ a: sub, b: file() })
  const withEntries = (names: Array<[string, number]>): LayerIndex => {
    const entries = names.map(([name, inode]) => ({ name: Buffer.from(name, 'latin1'), inode }))
    return { ...good, inodes: good.inodes.map((inode, i) => i > 0 ? inode : { ...inode, entries }) }
  }
  const cases: Record<string, Array<[string, number]>> = {
    'an inode that does not exist': [['a', 9]],
    'a directory with two names': [['a', 1], ['b', 1]],
    'a directory inside itself': [['a', 0]],
    'names out of order': [['b', 1], ['a', 2]],
    'a name twice': [['a', 1], ['a', 2]],
    'an empty name': [['', 1]],
    'the name .': [['.', 1]],
    'the name ..': [['..', 1]],
    'a slash in a name': [['a/b', 1]],
    'a NUL in a name': [['a\0', 1]],
    'a name of 256 bytes': [['n'.repeat(256), 1]]
  }

  test.each(Object.entries(cases))('%s', (_what, entries) => {
    expect(codeOf(() => build(withEntries(entries)))).toBe('LAYER_INVALID')
  })

  test('while its neighbours pass', () => {
    expect(codeOf(() => build(withEntries([['a', 1], ['b', 2], ['c', 2], ['n'.repeat(255), 2]])))).toBe('nothing')
  })

  test('a root that is no directory, and no root at all', () => {
    expect(codeOf(() => build({ ...good, inodes: [{ ...good.inodes[1], kind: 'fifo', entries: null } as Inode] }))).toBe('LAYER_INVALID')
    expect(codeOf(() => build({ ...good, inodes: [] }))).toBe('LAYER_INVALID')
  })
})

describe('an inode that no kernel could hold is refused as LAYER_INVALID', () => {
  const link: Description = { kind: 'symlink', target: 'x' }
  const device: Description = { kind: 'block', device: [1, 1] }
  const cases: Array<[string, Partial<Inode>, Description]> = [
    ['mode with type bits', { mode: 0o100644 }, file()],
    ['negative mode', { mode: -1 }, file()],
    ['uid of nobody at all', { uid: 2 ** 32 - 1 }, file()],
    ['fractional gid', { gid: 1.5 }, file()],
    ['a second of 10^9 ns', { mtimeNanoseconds: 1e9 }, file()],
    ['an infinite time', { mtimeSeconds: Infinity }, file()],
    ['a negative size', { size: -1 }, file()],
    ['an empty link target', { target: new Uint8Array(0) }, link],
    ['a link target of 4096 bytes', { target: new Uint8Array(4096).fill(65) }, link],
    ['a NUL in a link target', { target: Buffer.from('a\0b') }, link],
    ['no link target', { target: null }, link],
    ['major 4096', { rdevMajor: 4096 }, device],
    ['minor 2^20', { rdevMinor: 2 ** 20 }, device]
  ]

  test.each(cases)('%s', (_what, change, description) => {
    expect(codeOf(() => build(changed({}, description)))).toBe('nothing')
    expect(codeOf(() => build(changed(change, description)))).toBe('LAYER_INVALID')
  })
})

describe('limits are LIMIT_EXCEEDED', () => {
  test('an xattr value of 65,536 bytes', () => {
    expect(codeOf(() => build(indexOf({ a: file({ xattrs: { 'user.x': Buffer.alloc(65_535) } }) })))).toBe('nothing')
    expect(codeOf(() => build(indexOf({ a: file({ xattrs: { 'user.x': Buffer.alloc(65_536) } }) })))).toBe('LIMIT_EXCEEDED')
  })

  test('more xattrs than one inode can carry', () => {
    const xattrs = (count: number): Attributes =>
      ({ xattrs: Object.fromEntries(Array.from({ length: count }, (_, i) => [`user.${i}`, Buffer.alloc(52_000)])) })
    expect(codeOf(() => build(indexOf({ a: file(xattrs(5)) })))).toBe('nothing')
    expect(codeOf(() => build(indexOf({ a: file(xattrs(6)) })))).toBe('LIMIT_EXCEEDED')
  })

  test('contents beyond what block numbers address', () => {
    expect(codeOf(() => build(changed({ size: 8 * 2 ** 40 })))).toBe('nothing')
    expect(codeOf(() => build(changed({ size: 8 * 2 ** 40 + 1 })))).toBe('LIMIT_EXCEEDED')
  })

  test('a million names and one', () => {
    const { inodes, ...rest } = indexOf({ a: file() })
    const entries = Array.from({ length: 1_000_001 }, (_, i) => ({ name: Buffer.from(String(i).padStart(7, '0')), inode: 1 }))
    const index = { ...rest, inodes: inodes.map((inode, i) => i === 0 ? { ...inode, entries } : inode) }
    expect(codeOf(() => build(index))).toBe('LIMIT_EXCEEDED')
  })
})

test('arguments that do not belong together are refused', () => {
  const index = indexOf({ a: file() })
  const layout = layoutData(index)
  expect(codeOf(() => buildErofs(index, layout, { form: 'one-file', uuid: new Uint8Array(15) }))).toBe('INVALID_ARGUMENT')
  expect(codeOf(() => buildErofs(index, layoutData(indexOf({})), { form: 'one-file', uuid: UUID }))).toBe('INVALID_ARGUMENT')
  expect(codeOf(() => buildErofs(index, { fileOffsets: layout.fileOffsets, size: 0 }, { form: 'one-file', uuid: UUID }))).toBe('INTERNAL')
})

test('unreferenced inodes are left out and link counts are counted, not believed', () => {
  const index = indexOf({ a: file() })
  const more = { ...index, inodes: [...index.inodes.map((inode) => ({ ...inode, linkCount: 77 })), ...index.inodes.slice(1)] }
  const layout = { ...layoutData(index), fileOffsets: Float64Array.of(...layoutData(index).fileOffsets, -1) }

  expect(Buffer.from(buildErofs(more, layout, { form: 'two-devices', uuid: UUID })).equals(build(index))).toBe(true)
})

test('the hashes are the published ones', () => {
  expect(['', 'a', 'abc', 'Nobody inspects the spammish repetition'].map((text) => xxh32(Buffer.from(text), 0).toString(16)))
    .toEqual(['2cc5d05', '550d7456', '32d153ff', 'e2293b2f'])
  const filterBit = (name: string, namespace: number): number => xxh32(Buffer.from(name), 0x25BBE08F + namespace) & 31
  expect([filterBit('', 2), filterBit('', 3), filterBit('capability', 6)]).toEqual([30, 21, 29])
  expect((~crc32cWithoutFinalInversion(Buffer.from('123456789')) >>> 0).toString(16)).toBe('e3069283')
})

