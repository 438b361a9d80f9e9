// Which attributes are stored: the answers of setxattr(2) on ext4 (kernel 6.18), then chmod, as containerd's applier asks.
import { describe, expect, test } from '@jest/globals'
import { hasCode } from '../../src/base/errors.ts'
import { storedXattrs } from '../../src/erofs/xattr-rules.ts'
import type { Inode, InodeKind } from '../../src/layer/layer-index.ts'
import { type Description, layerFrom } from '../suites/layer-from-tree.ts'
import { aclFor, aclValue } from '../suites/random-trees.ts'

const BY_KIND: Readonly<Record<InodeKind, Description>> = {
  file: { kind: 'file', content: Buffer.alloc(0) },
  directory: { kind: 'directory', entries: {} },
  symlink: { kind: 'symlink', target: 'x' },
  char: { kind: 'char', device: [1, 3] },
  block: { kind: 'block', device: [7, 0] },
  fifo: { kind: 'fifo' }
}

const NOBODY = null
const ACCESS = 'system.posix_acl_access'
const DEFAULT = 'system.posix_acl_default'

/** The stored value in hex, 'left out' or 'refused'. */
function outcome (kind: InodeKind, name: string, value: string | Uint8Array, mode = 0o664): string {
  const entries = { a: { ...BY_KIND[kind], mode, xattrs: { [name]: value } } }
  const inode = layerFrom({ kind: 'directory', entries }).index.inodes[1] as Inode
  try {
    const [stored] = storedXattrs(inode, new Map(), '"a"')
    return stored === undefined ? 'left out' : Buffer.from(stored.value).toString('hex')
  } catch (error) {
    if (hasCode(error, 'LAYER_INVALID')) return 'refused'
    throw error
  }
}

const KINDS: readonly InodeKind[] = ['file', 'directory', 'symlink', 'fifo', 'char', 'block']

function outcomes (name: string, value: string | Uint8Array): string[] {
  return KINDS.map((kind) => outcome(kind, name, value))
}

const all = (text: string): string[] => KINDS.map(() => text)

describe('namespaces', () => {
  test('security.* and trusted.* stand on every kind', () => {
    expect(outcomes('security.foo', 'x')).toEqual(all('78'))
    expect(outcomes('trusted.foo', '')).toEqual(all(''))
  })

  test('user.* stands on files and directories only', () => {
    expect(outcomes('user.foo', 'x')).toEqual(['78', '78', 'left out', 'left out', 'left out', 'left out'])
  })

  test('what no filesystem knows is left out', () => {
    for (const name of ['foo.bar', 'system.foo', 'users.x', 'btrfs.compression']) expect(outcomes(name, 'x')).toEqual(all('left out'))
  })

  test('a namespace without a name, a NUL and 256 bytes are refused', () => {
    for (const name of ['user.', 'security.', 'user.a\0b', `user.${'n'.repeat(251)}`]) expect(outcome('file', name, 'x')).toBe('refused')
    expect(outcome('file', `user.${'n'.repeat(250)}`, 'x')).toBe('78')
  })
})

describe('file capabilities', () => {
  test('of revision 2 and 3 are kept, anything else is refused', () => {
    const revision2 = '0100000200200000000000000000000000000000'
    const revision3 = '010000030020000000000000000000000000000000000000'
    expect(outcome('file', 'security.capability', Buffer.from(revision2, 'hex'))).toBe(revision2)
    expect(outcome('file', 'security.capability', Buffer.from(revision3, 'hex'))).toBe(revision3)
    for (const bad of ['', '01000002', `${revision2}00`, revision2.replace('02', '01'), revision3.replace('03', '02')]) {
      expect(outcome('file', 'security.capability', Buffer.from(bad, 'hex'))).toBe('refused')
    }
  })
})

describe('ACLs', () => {
  const good = aclFor(0o664, 1000)
  const goodHex = Buffer.from(good).toString('hex')

  test('stand on everything but symlinks, default ones on directories', () => {
    expect(outcomes(ACCESS, good)).toEqual([goodHex, goodHex, 'left out', goodHex, goodHex, goodHex])
    expect(outcome('directory', DEFAULT, good)).toBe(goodHex)
    expect(outcome('file', DEFAULT, good)).toBe('refused')
    expect(outcome('symlink', DEFAULT, good)).toBe('left out')
  })

  test('that say nothing are left out', () => {
    for (const nothing of [Buffer.alloc(0), aclValue([]), Buffer.from('01000000', 'hex')]) {
      expect(outcome('directory', ACCESS, nothing)).toBe('left out')
    }
    expect(outcome('file', ACCESS, aclValue([[1, 6, NOBODY], [4, 4, NOBODY], [32, 4, NOBODY]]))).toBe('left out')
    expect(outcome('file', DEFAULT, Buffer.alloc(0))).toBe('left out')
  })

  test('take owner, mask and others from the mode, as chmod gives them', () => {
    const asWritten = aclValue([[1, 0, NOBODY], [2, 7, 5], [4, 7, NOBODY], [16, 0, NOBODY], [32, 7, NOBODY]])
    const asStored = aclValue([[1, 6, NOBODY], [2, 7, 5], [4, 7, NOBODY], [16, 4, NOBODY], [32, 0, NOBODY]])
    expect(outcome('file', ACCESS, asWritten, 0o640)).toBe(Buffer.from(asStored).toString('hex'))
  })

  test('keep a default one of three entries, with the ids that the kernel writes', () => {
    expect(outcome('directory', DEFAULT, aclValue([[1, 6, 0], [4, 4, 5], [32, 4, 7]])))
      .toBe(Buffer.from(aclValue([[1, 6, NOBODY], [4, 4, NOBODY], [32, 4, NOBODY]])).toString('hex'))
  })

  test('may name a user twice and in any order, as the kernel allows', () => {
    const twice = aclValue([[1, 6, NOBODY], [2, 7, 5], [2, 7, 3], [2, 7, 3], [4, 4, NOBODY], [16, 6, NOBODY], [32, 4, NOBODY]])
    expect(outcome('file', ACCESS, twice)).toBe(Buffer.from(twice).toString('hex'))
  })

  const malformed: Record<string, Uint8Array> = {
    'two bytes': Buffer.from('zz'),
    'half an entry': Buffer.concat([aclFor(0o664, 1), Buffer.alloc(4)]),
    'a permission of 8': aclValue([[1, 6, NOBODY], [2, 8, 5], [4, 4, NOBODY], [16, 7, NOBODY], [32, 4, NOBODY]]),
    'a named user without a mask': aclValue([[1, 6, NOBODY], [2, 7, 5], [4, 4, NOBODY], [32, 4, NOBODY]]),
    'a named user without an id': aclValue([[1, 6, NOBODY], [2, 7, NOBODY], [4, 4, NOBODY], [16, 7, NOBODY], [32, 4, NOBODY]]),
    'the group before the owner': aclValue([[4, 6, NOBODY], [1, 6, NOBODY], [32, 4, NOBODY]]),
    'two owners': aclValue([[1, 6, NOBODY], [1, 6, NOBODY], [4, 6, NOBODY], [32, 4, NOBODY]]),
    'no entry for others': aclValue([[1, 6, NOBODY], [4, 6, NOBODY]]),
    'an unknown tag': aclValue([[1, 6, NOBODY], [3, 6, 1], [4, 6, NOBODY], [16, 7, NOBODY], [32, 4, NOBODY]])
  }

  test.each(Object.entries(malformed))('with %s are refused', (_what, value) => {
    expect(outcome('file', ACCESS, value)).toBe('refused')
    expect(outcome('directory', DEFAULT, value)).toBe('refused')
  })
})

test('unsorted and repeated attributes are refused', () => {
  const inode = layerFrom(BY_KIND.directory).index.inodes[0] as Inode
  const withNames = (...names: string[]): Inode =>
    ({ ...inode, xattrs: names.map((name) => ({ name: Buffer.from(name), value: Buffer.alloc(1) })) })

  expect(storedXattrs(withNames('user.a', 'user.b'), new Map(), 'x').length).toBe(2)
  expect(() => storedXattrs(withNames('user.b', 'user.a'), new Map(), 'x')).toThrow(/unsorted/)
  expect(() => storedXattrs(withNames('user.a', 'user.a'), new Map(), 'x')).toThrow(/repeated/)
})
