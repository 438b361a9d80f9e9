// Trees that hold one of everything that a layer can: what every way to mount one has to show.
import { randomBytes } from 'node:crypto'
import type { Description } from './layer-from-tree.ts'
import { aclFor } from './random-trees.ts'

export function file (content: Uint8Array | string, rest: object = {}): Description {
  return { kind: 'file', content: Buffer.from(content), ...rest }
}

export function directory (entries: Record<string, Description>, rest: object = {}): Description {
  return { kind: 'directory', entries, ...rest }
}

export function many (count: number, make: (i: number) => [string, Description]): Record<string, Description> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => make(i)))
}

const shared = file(randomBytes(300_000), { mtime: [-2, 500_000_000], xattrs: { 'user.bin': Buffer.from('000102ff0a3d00', 'hex') } })
export const pipe: Description = { kind: 'fifo', mode: 0o600, xattrs: { 'trusted.t': 'x' } }
export const link: Description = { kind: 'symlink', target: 'nowhere', xattrs: { 'security.selinux': 'label' } }

/** The one name in it that is no UTF-8. */
export const NOT_UTF8 = 'caf\xE9'

/** One of everything; wide and exact directories; every kind of hard link. */
export function specimen (): Description {
  return directory({
    one: shared,
    deep: directory({ two: shared, pipe, link, three: directory({ four: shared }) }, { mode: 0o1777 }),
    pipe,
    link,
    '!bang': file('!'), '-dash': file('-'), '.-x': file('.-'), '..a': file('..a'), '.hidden': file('h'), '...': file('...'),
    ['n'.repeat(255)]: file('long'), [NOT_UTF8]: file('bytes'), 'caf\xC3\xA9 \n\\': file('utf-8'),
    modes: directory(many(64, (i) => [`m${i}`, file('x', { mode: (i * 0o101 + i * 64) & 0o7777 })]), { mode: 0 }),
    times: directory({
      early: file('', { mtime: [-62_135_596_800, 1] }),
      late: file('', { mtime: [253_402_300_799, 999_999_999] }),
      y2038: file('', { mtime: [2 ** 31, 5] })
    }),
    owners: directory({ big: file('', { uid: 2 ** 32 - 2, gid: 2 ** 31 }), edge: file('', { uid: 65535, gid: 65536 }) }),
    devices: directory({
      null: { kind: 'char', device: [1, 3], mode: 0o666 },
      disk: { kind: 'block', device: [4095, 1_048_575] },
      whiteout: { kind: 'char', device: [0, 0], mode: 0 }
    }),
    sizes: directory(many(9, (i) => [`s${4092 + i}`, file(randomBytes(4092 + i))])),
    sparse: {
      kind: 'file',
      size: 6 * 2 ** 20,
      extents: [{ offset: 123_456, content: randomBytes(70_000) }, { offset: 5 * 2 ** 20, content: randomBytes(10) }]
    },
    hole: { kind: 'file', size: 1_000_000, extents: [] },
    wide: directory(many(4000, (i) => [`file-${i}`, file('')])),
    links: directory(many(1200, (i) => [`link-${'l'.repeat(i % 40)}${i}`, shared])),
    manyDirectories: directory(many(300, (i) => [`d${i}`, directory({})])),
    xattrs: directory({
      forty: file('', { xattrs: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`user.x${i}`, `value ${i}`])) }),
      long: file('', { xattrs: { 'user.long': Buffer.alloc(65_535, 1), 'trusted.long': Buffer.alloc(60_000, 2) } }),
      wide: directory({ child: file('') }, { xattrs: { 'user.long': Buffer.alloc(5000, 3) } }),
      empty: file('', { xattrs: { 'user.empty': '' } }),
      labels: directory(many(300, (i) =>
        [`l${i}`, file('', { xattrs: { 'security.selinux': 'system_u:object_r:bin_t:s0', 'user.i': String(i % 3) } })])),
      acl: directory({ file: file('', { mode: 0o640, xattrs: { 'system.posix_acl_access': aclFor(0o640, 1000) } }) },
        { mode: 0o770, xattrs: { 'system.posix_acl_access': aclFor(0o770, 1), 'system.posix_acl_default': aclFor(0o777, 2) } })
    })
  }, { mtime: [1_700_000_000, 123_456_789], mode: 0o711 })
}

/** Directory sizes and link targets on both sides of what fits behind an inode, and of whole blocks. */
export function edges (): Description {
  const entries: Record<string, Description> = {}
  for (let bytes = 3950; bytes <= 4170; bytes++) entries[`dir-${bytes}`] = directory(namesOf(bytes - 27)) // `.` and `..` take 27
  for (let bytes = 4000; bytes <= 4095; bytes++) {
    entries[`link-${bytes}`] = { kind: 'symlink', target: 't'.repeat(bytes), mtime: [bytes % 2, 0] }
  }
  return directory(entries)
}

/** Names that take `bytes` in a directory: 12 each and their length. */
function namesOf (bytes: number): Record<string, Description> {
  const names: Record<string, Description> = {}
  for (let left = bytes, i = 0; left > 0; i++) {
    const length = left - 12 <= 250 ? left - 12 : Math.min(200, left - 12 - 20)
    names[String(i).padStart(3, '0').padEnd(length, 'p')] = pipe
    left -= 12 + length
  }
  return names
}
