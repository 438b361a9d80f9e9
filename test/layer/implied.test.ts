// Directories that a layer's tar does not name: where their attributes come from, path by path.
import { describe, expect, test } from '@jest/globals'
import { resolveImplied } from '../../src/layer/implied.ts'
import type { Inode, LayerIndex } from '../../src/layer/layer-index.ts'
import { type Attributes, type Description, layerFrom } from '../suites/layer-from-tree.ts'
import { forRandomTrees } from '../suites/random-trees.ts'

type Entries = Record<string, Description>

function layer (entries: Entries, rest: Attributes = {}): LayerIndex {
  return layerFrom({ kind: 'directory', entries, ...rest }).index
}

function directory (entries: Entries, rest: Attributes = {}): Description {
  return { kind: 'directory', entries, ...rest }
}

/** As a reader leaves a directory that only its content names. */
function implied (entries: Entries, rest: Attributes = {}): Description {
  return directory(entries, { mode: 0o755, mtime: [0, 0], implied: true, ...rest })
}

const file: Description = { kind: 'file', content: Buffer.from('x') }
const whiteout: Description = { kind: 'char', device: [0, 0], mode: 0 }
const opaque = { 'trusted.overlay.opaque': 'y' }
const sticky: Attributes = {
  mode: 0o1777, uid: 5, gid: 6, mtime: [70, 8], xattrs: { 'user.a': 'b', 'system.posix_acl_default': 'acl', 'trusted.t': 'x' }
}

function at (index: LayerIndex, path: string): Inode {
  return path.split('/').filter((name) => name !== '').reduce<Inode>((inode, name) => {
    const entry = inode.entries?.find((candidate) => Buffer.from(candidate.name).toString() === name)
    return index.inodes[entry?.inode ?? -1] as Inode
  }, index.inodes[0] as Inode)
}

function attributesOf (inode: Inode): unknown {
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, implied } = inode
  const xattrs = Object.fromEntries(inode.xattrs.map(({ name, value }) => [Buffer.from(name).toString(), Buffer.from(value).toString()]))
  return { mode, uid, gid, mtime: [mtimeSeconds, mtimeNanoseconds], xattrs, implied }
}

const STICKY = {
  mode: 0o1777, uid: 5, gid: 6, mtime: [70, 8], xattrs: { 'system.posix_acl_default': 'acl', 'user.a': 'b' }, implied: false
}
const DEFAULT = { mode: 0o755, uid: 0, gid: 0, mtime: [0, 0], xattrs: {}, implied: false }

function resolved (path: string, top: Entries, ...lowers: Entries[]): unknown {
  return attributesOf(at(resolveImplied(layer(top), lowers.map((entries) => layer(entries))), path))
}

const tmpX = { tmp: implied({ x: file }) }

describe('an implied directory', () => {
  test('takes mode, owner, time and all but trusted attributes from the nearest layer that has it', () => {
    expect(resolved('tmp', tmpX, { tmp: directory({}, sticky) })).toEqual(STICKY)
    expect(resolved('tmp', tmpX, {}, { tmp: directory({}, sticky) })).toEqual(STICKY)
    expect(resolved('tmp', tmpX, { tmp: directory({}, sticky) }, { tmp: directory({}, { mode: 0o700 }) })).toEqual(STICKY)
  })

  test('is 0755 root when no layer has it', () => {
    expect(resolved('tmp', tmpX)).toEqual(DEFAULT)
    expect(resolved('tmp', tmpX, { tmp2: directory({}, sticky) }, { t: directory({ tmp: directory({}, sticky) }) })).toEqual(DEFAULT)
  })

  test('is found at any depth, each level by itself', () => {
    const top = { a: implied({ b: implied({ c: implied({ x: file }) }) }) }
    const below = { a: directory({ b: directory({}, sticky) }, { mode: 0o711 }) }
    expect(resolved('a/b', top, below)).toEqual(STICKY)
    expect(resolved('a', top, below)).toEqual({ ...DEFAULT, mode: 0o711 })
    expect(resolved('a/b/c', top, below)).toEqual(DEFAULT)
  })

  test('looks through a lower layer that implies it too', () => {
    expect(resolved('tmp', tmpX, { tmp: implied({ y: file }) }, { tmp: directory({}, sticky) })).toEqual(STICKY)
    expect(resolved('tmp', tmpX, { tmp: implied({ y: file }) })).toEqual(DEFAULT)
  })

  test('does not look behind a whiteout, a file or a directory that was replaced', () => {
    const base = { tmp: directory({}, sticky), a: directory({ b: directory({}, sticky) }) }
    expect(resolved('tmp', tmpX, { tmp: whiteout }, base)).toEqual(DEFAULT)
    expect(resolved('tmp', tmpX, { tmp: file }, base)).toEqual(DEFAULT)
    expect(resolved('a/b', { a: implied({ b: implied({ x: file }) }) }, { a: whiteout }, base)).toEqual(DEFAULT)
    expect(resolved('a/b', { a: implied({ b: implied({ x: file }) }) }, {}, base)).toEqual(STICKY)
  })

  test('looks behind an opaque directory, in its own layer and below, as containerd does', () => {
    const base = { a: directory({ b: directory({}, sticky) }) }
    const top = { a: implied({ b: implied({ x: file }) }) }
    expect(resolved('a/b', top, { a: directory({}, { xattrs: opaque }) }, base)).toEqual(STICKY)
    expect(resolved('a/b', { a: directory({ b: implied({ x: file }) }, { xattrs: opaque }) }, base)).toEqual(STICKY)
  })

  test('that is opaque itself keeps that and still takes the attributes', () => {
    expect(resolved('tmp', { tmp: implied({ x: file }, { xattrs: opaque }) }, { tmp: directory({}, sticky) }))
      .toEqual({ ...STICKY, xattrs: { ...STICKY.xattrs, ...opaque } })
  })

  test('follows symlinks inside the lower layer, never out of it', () => {
    const up: Description = { kind: 'symlink', target: '../../../../usr/./lib' }
    const base: Entries = { lib: { kind: 'symlink', target: 'usr/lib' }, usr: directory({ lib: directory({ up }, sticky) }) }
    expect(resolved('lib', { lib: implied({ x: file }) }, base)).toEqual(STICKY)
    expect(resolved('lib/up', { lib: implied({ up: implied({ x: file }) }) }, base)).toEqual(STICKY)
    expect(resolved('lib', { lib: implied({ x: file }) }, { ...base, lib: { kind: 'symlink', target: '/usr/lib' } })).toEqual(STICKY)
    expect(resolved('lib', { lib: implied({ x: file }) }, { ...base, lib: { kind: 'symlink', target: 'nowhere' } })).toEqual(DEFAULT)
  })

  test('ends at a symlink that leads to itself', () => {
    const loop = { tmp: { kind: 'symlink', target: 'tmp' } as const }
    expect(resolved('tmp', tmpX, loop, { tmp: directory({}, sticky) })).toEqual(DEFAULT)
  })
})

test('what the tar names is left alone, and the root is a directory like others', () => {
  const top = { tmp: implied({ x: file }), etc: directory({ y: file }, { mode: 0o700 }) }
  const base = layer({ tmp: directory({}, sticky), etc: directory({}, sticky) }, { mode: 0o711 })
  const result = resolveImplied(layer(top, { implied: true }), [base])

  expect(attributesOf(at(result, 'etc'))).toEqual({ ...DEFAULT, mode: 0o700 })
  expect(attributesOf(at(result, '/'))).toEqual({ ...DEFAULT, mode: 0o711 })
})

test('an index without implied directories is returned as it is', () => {
  const index = layer({ tmp: directory({}, sticky) })
  expect(resolveImplied(index, [layer({ tmp: directory({}) })])).toBe(index)
})

test('nothing is implied afterwards, and only directories that were have changed', async () => {
  await forRandomTrees(50, async (tree) => {
    const { index } = layerFrom(tree)
    const inodes = index.inodes.map((inode, i) => inode.kind === 'directory' && i % 2 === 0 ? { ...inode, implied: true } : inode)
    const result = resolveImplied({ ...index, inodes }, [index])
    expect(result.inodes.filter((inode) => inode.implied)).toEqual([])
    result.inodes.forEach((inode, i) => {
      if (inodes[i]?.implied !== true) expect(inode).toBe(inodes[i])
      else expect(inode.mode).toBe(index.inodes[i]?.mode)
    })
    expect(resolveImplied(result, [])).toBe(result)
  })
})

test('resolved and unresolved lower layers give the same', () => {
  const base = layer({ a: directory({ b: directory({}, sticky) }, { mode: 0o711 }) })
  const middle = layer({ a: implied({ b: implied({ y: file }) }) })
  const top = layer({ a: implied({ b: implied({ x: file }) }) })

  expect(resolveImplied(top, [resolveImplied(middle, [base]), base])).toEqual(resolveImplied(top, [middle, base]))
  expect(attributesOf(at(resolveImplied(top, [middle, base]), 'a/b'))).toEqual(STICKY)
})

test('an unresolved lower directory behind a symlink is looked up under its own path', () => {
  const base = layer({ usr: directory({ lib: directory({}, sticky) }), lib: directory({}, { mode: 0o711 }) })
  const middle = layer({ lib: { kind: 'symlink', target: 'usr/lib' }, usr: implied({ lib: implied({ y: file }) }) })
  const top = layer({ lib: implied({ x: file }) })

  expect(attributesOf(at(resolveImplied(top, [middle, base]), 'lib'))).toEqual(STICKY)
  expect(attributesOf(at(resolveImplied(top, [resolveImplied(middle, [base]), base]), 'lib'))).toEqual(STICKY)
})

test('finding what lies below takes no more steps than allowed, however long the links are', () => {
  const upper = layer({ a: implied({ x: implied({}), y: implied({}) }) })
  const lower = layer({ a: { kind: 'symlink', target: '././b' }, b: directory({ x: directory({}, sticky) }) })
  const steps = 3 * (1 + 5 + 3) + 2 // the link's name, its bytes and its parts for each of a, a/x and a/y; then x and y
  const codeAt = (stepsMax: number): string => {
    try {
      return attributesOf(at(resolveImplied(upper, [lower], stepsMax), 'a/x')) === null ? '' : 'found'
    } catch (error) {
      return (error as { line: string }).line
    }
  }

  expect(codeAt(steps)).toBe('found')
  expect(codeAt(steps - 1)).toBe(`LIMIT_EXCEEDED: directories that the layer's tar does not name take more than ${steps - 1} steps to find below`)
})
