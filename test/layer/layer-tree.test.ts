import { describe, expect, test } from '@jest/globals'
import {
  LINKS_FOLLOWED_MAX, NAME_BYTES_MAX, PATH_DEPTH_MAX, XATTR_BYTES_PER_INODE_MAX, XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX
} from '../../src/base/limits.ts'
import { freeze } from '../../src/layer/freeze.ts'
import { type LayerEntry, NO_XATTRS } from '../../src/layer/layer-entry.ts'
import { LayerTree } from '../../src/layer/layer-tree.ts'
import { codeOf } from './errors.ts'
import { type Flat, flatten } from './flatten.ts'

type Given = Partial<LayerEntry> & { path: string }

const BASE: LayerEntry = {
  path: '', type: 'file', mode: 0o644, uid: 0, gid: 0, mtimeSeconds: 1, mtimeNanoseconds: 2, size: 0, deviceMajor: 0, deviceMinor: 0,
  linkTarget: '', xattrs: NO_XATTRS
}

function build (entries: readonly Given[], entriesMax = 1000): Flat {
  const tree = new LayerTree({ origin: { what: 'layer', code: 'LAYER_INVALID' }, skip: new Set(['landmark']), entriesMax })
  for (const given of entries) tree.apply({ ...BASE, ...given })
  return flatten(freeze(tree.root, 'tar', 0, 'layer').index, () => new Uint8Array(0))
}

const dir = (path: string, more: Partial<LayerEntry> = {}): Given => ({ path, type: 'directory', mode: 0o755, ...more })
const file = (path: string, more: Partial<LayerEntry> = {}): Given => ({ path, ...more })
const link = (path: string, linkTarget: string, more: Partial<LayerEntry> = {}): Given => ({ path, type: 'hardlink', linkTarget, ...more })
const symlink = (path: string, linkTarget: string): Given => ({ path, type: 'symlink', linkTarget })
const paths = (entries: readonly Given[]): string[] => [...build(entries).keys()]

describe('names', () => {
  test.each([
    ['./a/b', '/a/b'], ['/a/b', '/a/b'], ['a//b/', '/a/b'], ['a/./b', '/a/b'], ['a/x/../b', '/a/b'], ['../../a/b', '/a/b'],
      ['/../a/b', '/a/b']
  ])('%s is cleaned to %s', (path, want) => {
    expect(paths([file(path)])).toEqual(['/', '/a', want])
  })

  test.each(['', '.', '/', './', '..', 'a/..'])('%p is the root, which keeps its mode, owner and xattrs', (path) => {
    const root = build([dir(path, { mode: 0o700, uid: 5, xattrs: new Map([['user.a', Buffer.from('x')]]) })]).get('/')

    expect(root).toMatchObject({ mode: '0755', uid: 0, implied: false, mtimeNs: '1000000002' })
    expect(root?.xattrs).toBeUndefined()
  })

  test('names sort as bytes, not as text', () => {
    const utf8 = (text: string): string => Buffer.from(text).toString('latin1')

    expect(paths([file('b'), file(utf8('é')), file('B'), file(utf8('\u{1F600}')), file('a-'), file('a'), file(utf8('\uFF5E'))]))
      .toEqual(['/', '/B', '/a', '/a-', '/b', '/é', '/\uFF5E', '/\u{1F600}'])
  })

  test('refuses NUL in a name', () => {
    expect(codeOf(() => build([file('a\0b')]))).toMatch(/^LAYER_INVALID: layer: NUL in the name/)
  })

  test('a name may have 255 bytes and not one more', () => {
    expect(paths([file('n'.repeat(NAME_BYTES_MAX))])).toHaveLength(2)
    expect(codeOf(() => build([file('n'.repeat(NAME_BYTES_MAX + 1))]))).toMatch(/^LIMIT_EXCEEDED: layer: name of 256 bytes, limit 255/)
    expect(codeOf(() => build([file(`${'n'.repeat(NAME_BYTES_MAX + 1)}/a`)]))).toMatch(/^LIMIT_EXCEEDED/)
  })

  test('a path may have 256 components and not one more', () => {
    expect(paths([file(Array(PATH_DEPTH_MAX).fill('d').join('/'))])).toHaveLength(PATH_DEPTH_MAX + 1)
    expect(codeOf(() => build([file(Array(PATH_DEPTH_MAX + 1).fill('d').join('/'))])))
      .toMatch(/^LIMIT_EXCEEDED: layer: path of 257 components/)
  })

  test.each<[string, (i: number) => Given]>([
    ['paths', (i) => file(`${'p'.repeat(200)}/f${i}`)],
    ['link targets', (i) => symlink(`l${i}`, 't'.repeat(200))],
    ['xattrs', (i) => file(`x${i}`, { xattrs: new Map([['user.a', Buffer.alloc(200, 'v')]]) })],
    ['entries that replace each other', () => symlink('same', 't'.repeat(200))]
  ])('names, targets and xattrs of a layer are bounded together: %s', (_, given) => {
    const tree = new LayerTree({ origin: { what: 'layer', code: 'LAYER_INVALID' }, metadataBytesMax: 2_100 })
    const add = (i: number): void => { tree.apply({ ...BASE, ...given(i) }) }
    for (let i = 0; i < 9; i++) add(i)

    expect(codeOf(() => { add(9); add(10) })).toMatch(/^LIMIT_EXCEEDED: layer: more than 2100 bytes of names, link targets and xattrs/)
  })

  test('a layer may have so many entries and not one more', () => {
    const many = (count: number): Given[] => Array.from({ length: count }, (_, i) => file(`f${i}`))

    expect(build(many(19), 20).size).toBe(20) // the root counts
    expect(codeOf(() => build(many(21), 20))).toBe('LIMIT_EXCEEDED: layer: more than 20 entries')
    expect(codeOf(() => build(many(5).flatMap((one) => Array(5).fill(one) as Given[]), 20)))
      .toMatch(/^LIMIT_EXCEEDED/) // replaced ones count
  })
})

describe('parents', () => {
  test('that no entry names are implied, until one does', () => {
    const flat = build([file('a/b/c'), dir('a/', { mode: 0o1777, uid: 7 })])

    expect(flat.get('/')).toMatchObject({ implied: true, mode: '0755' })
    expect(flat.get('/a')).toMatchObject({ implied: false, mode: '01777', uid: 7 })
    expect(flat.get('/a/b')).toMatchObject({ implied: true, mode: '0755', uid: 0, mtimeNs: '0' })
  })

  test('are found through symbolic links of the layer', () => {
    expect(paths([dir('usr/lib'), symlink('lib', 'usr/lib'), file('lib/x'), symlink('abs', '/lib'), file('abs/y')]))
      .toEqual(['/', '/abs', '/lib', '/usr', '/usr/lib', '/usr/lib/x', '/usr/lib/y'])
  })

  test('links that leave the root end at the root', () => {
    expect(paths([symlink('out', '../../../etc'), file('out/passwd')])).toEqual(['/', '/etc', '/etc/passwd', '/out'])
  })

  test('links that lead nowhere make directories there', () => {
    expect(paths([symlink('a', 'b/c'), file('a/f')])).toEqual(['/', '/a', '/b', '/b/c', '/b/c/f'])
  })

  test('links in a circle, or too many, are refused', () => {
    const chain = (length: number): Given[] => [
      ...Array.from({ length }, (_, i) => symlink(`l${i}`, i + 1 === length ? 'end' : `l${i + 1}`)), file('l0/f')
    ]

    expect(codeOf(() => build([symlink('a', 'b'), symlink('b', 'a'), file('a/f')])))
      .toMatch(/^LIMIT_EXCEEDED: layer: more than 255 links to follow/)
    expect(build(chain(LINKS_FOLLOWED_MAX)).has('/end/f')).toBe(true)
    expect(codeOf(() => build(chain(LINKS_FOLLOWED_MAX + 1)))).toMatch(/^LIMIT_EXCEEDED/)
  })

  test('may be reached through two links for each entry of the limit, and not more', () => {
    // Spelled differently each time: what was found for one text is remembered.
    const files = (count: number): Given[] => Array.from({ length: count }, (_, at) => file(`a/${'./'.repeat(at)}f`))
    const entries = (count: number): Given[] => [
      symlink('a', 'b'), symlink('b', 'c'), symlink('c', 'd'), symlink('d', 'e'), dir('e'), ...files(count)
    ]

    expect(build(entries(7), 14).has('/e/f')).toBe(true)
    expect(codeOf(() => build(entries(8), 14))).toBe('LIMIT_EXCEEDED: layer: more links to follow than two for each entry')

    // A link of 4 KB costs as much time as sixteen short ones, and counts as many.
    const long = (count: number): Given[] => [symlink('a', `${'./'.repeat(2045)}e`), dir('e'), ...files(count)]
    expect(build(long(2), 16).has('/e/f')).toBe(true)
    expect(codeOf(() => build(long(3), 16))).toBe('LIMIT_EXCEEDED: layer: more links to follow than two for each entry')
  })

  test('that are files are refused', () => {
    expect(codeOf(() => build([file('a'), file('a/b')]))).toBe('LAYER_INVALID: layer: "a/b" lies below "a", which is no directory')
    expect(codeOf(() => build([file('.wh.a'), file('a/b')]))).toMatch(/which is no directory/)
  })
})

describe('later entries', () => {
  test('go where their path leads now, not where the same text led before', () => {
    const linked = build([dir('x'), dir('y'), symlink('a', 'x'), file('a/f'), symlink('a', 'y'), file('a/g')])
    expect([linked.has('/x/f'), linked.has('/y/g'), linked.has('/x/g')]).toEqual([true, true, false])

    const replaced = build([dir('d'), file('d/f'), file('d'), dir('d'), file('d/g')])
    expect([replaced.has('/d/f'), replaced.has('/d/g')]).toEqual([false, true])
    expect(codeOf(() => build([dir('d'), file('d/f'), file('d'), file('d/g')]))).toMatch(/"d\/g" lies below "d", which is no directory/)
  })

  test('of a remembered parent are held to the limits of names', () => {
    expect(build([file('d/a'), file(`d/${'n'.repeat(255)}`)]).size).toBeGreaterThan(2)
    expect(codeOf(() => build([file('d/a'), file(`d/${'n'.repeat(256)}`)]))).toMatch(/^LIMIT_EXCEEDED: layer: name of 256 bytes/)
    expect(codeOf(() => build([file('d/a'), file('d/b\0c')]))).toMatch(/^LAYER_INVALID: layer: NUL in the name/)
  })

  test('replace files, links and whole directories', () => {
    const flat = build([dir('d'), file('d/x'), file('d', { size: 9, mode: 0o600 }), symlink('s', 't'), file('s', { size: 3 })])

    expect([...flat.keys()]).toEqual(['/', '/d', '/s'])
    expect(flat.get('/d')).toMatchObject({ type: 'file', size: 9, mode: '0600' })
    expect(flat.get('/s')).toMatchObject({ type: 'file', size: 3 })
  })

  test('merge directories: contents stay, attributes change, xattrs add up', () => {
    const x = (name: string): ReadonlyMap<string, Uint8Array> => new Map([[name, Buffer.from('1')]])
    const flat = build([dir('d', { xattrs: x('user.a') }), file('d/f'), dir('d', { mode: 0o700, uid: 3, xattrs: x('user.b') })])

    expect(flat.get('/d')).toMatchObject({ mode: '0700', uid: 3, xattrs: { 'user.a': '31', 'user.b': '31' } })
    expect(flat.has('/d/f')).toBe(true)
  })

  test('turn a file into a directory', () => {
    expect(paths([file('a', { size: 1 }), dir('a'), file('a/b')])).toEqual(['/', '/a', '/a/b'])
  })
})

describe('hard links', () => {
  test('share the inode, count its names and give it their own attributes', () => {
    const flat = build([file('a', { size: 5 }), link('d/b', './a', { mode: 0o600, uid: 9 }), link('c', 'd/b', { mode: 0o640, uid: 9 })])

    for (const path of ['/a', '/c', '/d/b']) expect(flat.get(path)).toMatchObject({ nlink: 3, size: 5, mode: '0640', uid: 9,
      sameFileAs: '/a' })
  })

  test('keep the inode when the first name goes', () => {
    expect(build([file('a', { size: 5 }), link('b', 'a'), file('a', { size: 6 })]).get('/b')).toMatchObject({ size: 5, nlink: 1 })
  })

  test('to symbolic links link the link itself, whose mode stays 0777', () => {
    expect(build([symlink('s', 'nowhere'), link('t', 's', { mode: 0o600 })]).get('/t'))
      .toMatchObject({ type: 'symlink', target: 'nowhere', mode: '0777' })
  })

  test('find their target through symbolic links among its parents', () => {
    expect(build([file('real/f', { size: 4 }), symlink('alias', 'real'), link('h', 'alias/f')]).get('/h'))
      .toMatchObject({ size: 4, nlink: 2 })
  })

  test.each([
    ['nothing', [link('b', 'a')]], ['a later entry', [link('b', 'a'), file('a')]], ['itself', [file('a'), link('a', 'a')]],
    ['a directory', [dir('a'), link('b', 'a')]], ['the root', [link('b', '/')]], ['outside', [link('b', '../../etc/passwd')]]
  ])('to %s are refused', (_what, entries) => {
    expect(codeOf(() => build(entries))).toMatch(/^LAYER_INVALID: layer: ".*" is a hard link to/)
  })
})

describe('whiteouts', () => {
  test('become character devices 0:0, also for names that never existed', () => {
    expect(build([file('d/.wh.gone', { uid: 4 })]).get('/d/gone')).toEqual(
      { path: '/d/gone', type: 'char', mode: '0000', uid: 4, gid: 0, mtimeNs: '0', rdev: [0, 0], implied: false })
  })

  test('give way to an entry behind them', () => {
    expect(build([file('.wh.a'), file('a', { size: 2 })]).get('/a')).toMatchObject({ type: 'file', size: 2 })
  })

  test('mark a directory opaque, named before or after or never', () => {
    const opaque = { xattrs: { 'trusted.overlay.opaque': '79' } }

    expect(build([dir('d', { mode: 0o700 }), file('d/.wh..wh..opq')]).get('/d')).toMatchObject({ ...opaque, mode: '0700' })
    expect(build([file('d/.wh..wh..opq'), dir('d', { mode: 0o700 })]).get('/d')).toMatchObject({ ...opaque, mode: '0700', implied: false })
    expect(build([file('d/.wh..wh..opq')]).get('/d')).toMatchObject({ ...opaque, implied: true })
    expect(build([file('.wh..wh..opq')]).get('/')).toMatchObject(opaque)
  })

  test.each(['.wh.', '.wh..', '.wh...', 'd/.wh.'])('%p is refused', (path) => {
    expect(codeOf(() => build([file(path)]))).toBe(`LAYER_INVALID: layer: "${path}" is no valid whiteout`)
  })

  test('of what the layer itself holds are refused, as mknod is in containerd', () => {
    expect(codeOf(() => build([file('a'), file('.wh.a')])))
      .toBe('LAYER_INVALID: layer: ".wh.a" is a whiteout of a name that this layer holds')
    expect(codeOf(() => build([file('.wh.a'), file('.wh.a')]))).toMatch(/^LAYER_INVALID/)
  })
})

describe('attributes', () => {
  test('times before 1970 and beyond int64 nanoseconds become 0, as containerd sets them', () => {
    const time = (mtimeSeconds: number, mtimeNanoseconds: number): string | undefined =>
      build([file('a', { mtimeSeconds, mtimeNanoseconds })]).get('/a')?.mtimeNs

    expect(time(-1, 999_999_999)).toBe('0')
    expect(time(4_102_444_800, 7)).toBe('4102444800000000007')
    expect(time(9_223_372_036, 854_775_807)).toBe('9223372036854775807')
    expect(time(9_223_372_036, 854_775_808)).toBe('0')
  })

  test.each([[-1, 0], [0, -2], [2 ** 32 - 1, 0], [0, 2 ** 40]])('refuses the owner %i:%i', (uid, gid) => {
    expect(codeOf(() => build([file('a', { uid, gid })]))).toBe(`LAYER_INVALID: layer: "a" has the owner ${uid}:${gid}`)
  })

  test('the largest ids and device numbers are kept, larger ones refused', () => {
    const device = (deviceMajor: number, deviceMinor: number): Given => ({ path: 'd', type: 'char', deviceMajor, deviceMinor })

    expect(build([file('a', { uid: 2 ** 32 - 2 })]).get('/a')?.uid).toBe(2 ** 32 - 2)
    expect(build([device(4095, 2 ** 20 - 1)]).get('/d')?.rdev).toEqual([4095, 2 ** 20 - 1])
    expect(codeOf(() => build([device(4096, 0)]))).toMatch(/has the device number 4096:0/)
    expect(codeOf(() => build([device(0, 2 ** 20)]))).toMatch(/^LAYER_INVALID/)
    expect(codeOf(() => build([device(-1, 0)]))).toMatch(/^LAYER_INVALID/)
  })

  test('a symbolic link needs a target', () => {
    expect(codeOf(() => build([symlink('a', '')]))).toMatch(/without a valid target/)
    expect(codeOf(() => build([symlink('a', 'b\0c')]))).toMatch(/without a valid target/)
  })

  test('the names of the format itself are left out at the top and kept below', () => {
    expect(paths([file('./landmark'), file('d/landmark')])).toEqual(['/', '/d', '/d/landmark'])
  })
})

describe('xattrs', () => {
  const names = (kind: Partial<LayerEntry>, ...given: string[]): string[] => Object.keys(build([{
    path: 'a', linkTarget: 't', xattrs: new Map(given.map((name) => [name, Buffer.from('v')])), ...kind
  }]).get('/a')?.xattrs ?? {})

  test('of the trusted and unknown namespaces and of overlayfs are dropped', () => {
    expect(names({}, 'user.a', 'trusted.overlay.opaque', 'trusted.x', 'user.overlay.opaque', 'user.overlay.redirect', 'security.capability',
      'system.posix_acl_access', 'system.posix_acl_default', 'system.other', 'foo', 'com.apple.x')).toEqual(
      ['security.capability', 'system.posix_acl_access', 'user.a'])
  })

  test('stay on what may carry them', () => {
    expect(names({ type: 'directory' }, 'user.a', 'system.posix_acl_default')).toEqual(['system.posix_acl_default', 'user.a'])
    expect(names({ type: 'symlink' }, 'user.a', 'security.b', 'system.posix_acl_access')).toEqual(['security.b'])
    expect(names({ type: 'fifo' }, 'user.a', 'security.b')).toEqual(['security.b'])
  })

  test('without a name, or with NUL in it, are refused', () => {
    expect(codeOf(() => names({}, 'user.'))).toBe('LAYER_INVALID: layer: xattr without a name on "a"')
    expect(codeOf(() => names({}, 'user.a\0b'))).toMatch(/^LAYER_INVALID: layer: NUL in an xattr name/)
  })

  test('names and values have limits', () => {
    const value = (size: number): Flat => build([file('a', { xattrs: new Map([['user.a', Buffer.alloc(size)]]) })])
    const name = (length: number): string => `user.${'n'.repeat(length - 5)}`

    expect(names({}, name(XATTR_NAME_BYTES_MAX))).toHaveLength(1)
    expect(codeOf(() => names({}, name(XATTR_NAME_BYTES_MAX + 1)))).toMatch(/^LIMIT_EXCEEDED: layer: xattr name of 256 bytes/)
    expect(value(XATTR_VALUE_BYTES_MAX).has('/a')).toBe(true)
    expect(codeOf(() => value(XATTR_VALUE_BYTES_MAX + 1))).toMatch(/^LIMIT_EXCEEDED: layer: xattr "user.a" of 65536 bytes/)
  })

  test('together have a limit, over merged entries too', () => {
    const quarter = XATTR_BYTES_PER_INODE_MAX / 4 - 8 - 'user.1'.length
    const four = (last: number): Map<string, Uint8Array> =>
      new Map([1, 2, 3, 4].map((i) => [`user.${i}`, Buffer.alloc(i === 4 ? last : quarter)]))
    const more = new Map([['user.5', Buffer.alloc(0)]])

    expect(Object.keys(build([dir('a', { xattrs: four(quarter) })]).get('/a')?.xattrs ?? {})).toHaveLength(4)
    expect(codeOf(() => build([dir('a', { xattrs: four(quarter + 1) })])))
      .toBe('LIMIT_EXCEEDED: layer: 262145 bytes of xattrs on "a", limit 262144')
    expect(codeOf(() => build([dir('a', { xattrs: four(quarter) }), dir('a', { xattrs: more })]))).toMatch(/^LIMIT_EXCEEDED/)
  })
})
