// Random directory trees (fast-check) with what goes wrong in practice: names around `.`, bytes that are no UTF-8, contents
// around whole blocks, holes, hard links, times far from now, shared and long xattrs, ACLs, whiteouts.
import fc from 'fast-check'
import type { Attributes, Description } from './layer-from-tree.ts'

const NAME_BYTE = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', '!', '+', '-', '.', '0', '~') },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 255 }).filter((byte) => byte !== 0x2F).map((byte) => String.fromCharCode(byte)) }
)

const name = fc.oneof(
  { weight: 8, arbitrary: fc.array(NAME_BYTE, { minLength: 1, maxLength: 12 }) },
  { weight: 1, arbitrary: fc.array(NAME_BYTE, { minLength: 200, maxLength: 255, size: 'max' }) }
).map((parts) => parts.join('')).filter((text) => text !== '.' && text !== '..')

const owner = fc.constantFrom(0, 0, 1000, 65535, 65536, 2 ** 31, 2 ** 32 - 2)

const mtime = fc.oneof(
  { weight: 3, arbitrary: fc.constant([1_700_000_000, 0] as const) },
  { weight: 2, arbitrary: fc.tuple(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), fc.integer({ min: 0, max: 999_999_999 })) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(-62_135_596_800, -1, 2 ** 31, 253_402_300_799), fc.constantFrom(0, 999_999_999)) }
)

const value = fc.oneof(
  fc.constantFrom('', 'y', 'system_u:object_r:usr_t:s0'),
  fc.uint8Array({ maxLength: 40 }),
  fc.integer({ min: 1, max: 5000 }).map((length) => Buffer.alloc(length, length))
)

const anywhere = fc.constantFrom('security.selinux', 'security.x', 'trusted.t', 'trusted.overlay.origin', `security.${'n'.repeat(246)}`)
const onFiles = fc.constantFrom('user.a', 'user.b', 'user.\xFC', `user.${'long'.repeat(50)}`)
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex')

function xattrs (kind: Description['kind']): fc.Arbitrary<Readonly<Record<string, string | Uint8Array>>> {
  const plain = kind === 'file' || kind === 'directory' ? fc.oneof(anywhere, onFiles) : anywhere
  const some = fc.array(fc.tuple(plain, value), { maxLength: 4 }).map((pairs) => Object.fromEntries(pairs))
  const capable = kind === 'file' ? some.map((known) => ({ ...known, 'security.capability': CAPABILITY })) : some
  return fc.oneof({ weight: 4, arbitrary: fc.constant({}) }, { weight: 2, arbitrary: some }, { weight: 1, arbitrary: capable })
}

function attributes (kind: Description['kind']): fc.Arbitrary<Attributes> {
  const mode = kind === 'symlink' ? fc.constant(0o777) : fc.integer({ min: 0, max: 0o7777 })
  const seldom = fc.integer({ min: 0, max: 9 }).map((n) => n === 0)
  const acl = fc.record({ withAcl: kind === 'symlink' ? fc.constant(false) : seldom, user: fc.nat() })
  return fc.record({ mode, uid: owner, gid: owner, mtime, xattrs: xattrs(kind), acl }).map(({ acl, ...rest }) => {
    if (!acl.withAcl) return rest
    const own = { 'system.posix_acl_access': aclFor(rest.mode, acl.user) }
    const inherited = kind === 'directory' ? { 'system.posix_acl_default': aclFor(0o750, acl.user) } : {}
    return { ...rest, xattrs: { ...rest.xattrs, ...own, ...inherited } }
  })
}

/** An access ACL with one named user that agrees with the mode. */
export function aclFor (mode: number, user: number): Uint8Array {
  return aclValue([[0x01, (mode >> 6) & 7, null], [0x02, 5, user], [0x04, 7, null], [0x10, (mode >> 3) & 7, null], [0x20, mode & 7, null]])
}

export function aclValue (entries: ReadonlyArray<readonly [tag: number, permissions: number, id: number | null]>): Uint8Array {
  const bytes = Buffer.alloc(4 + 8 * entries.length)
  bytes.writeUInt32LE(2)
  entries.forEach(([tag, permissions, id], i) => {
    bytes.writeUInt16LE(tag, 4 + 8 * i)
    bytes.writeUInt16LE(permissions, 6 + 8 * i)
    bytes.writeUInt32LE(id ?? 0xFFFFFFFF, 8 + 8 * i)
  })
  return bytes
}

const size = fc.oneof(fc.constantFrom(0, 1, 4095, 4096, 4097, 8192), fc.integer({ min: 0, max: 20_000 }))

const content = fc.tuple(size, fc.nat(255))
  .map(([bytes, seed]) => Buffer.from(Array.from({ length: bytes }, (_, i) => seed + i * 7 & 0xFF)))

const withGap = fc.tuple(fc.integer({ min: 0, max: 50_000 }), content)
const sparse = fc.tuple(fc.array(withGap, { maxLength: 3 }), fc.integer({ min: 0, max: 200_000 }))
  .map(([parts, tail]) => {
    let at = 0
    const extents = parts.filter(([, bytes]) => bytes.length > 0).map(([gap, bytes]) => {
      const offset = at + gap
      at = offset + bytes.length
      return { offset, content: bytes }
    })
    return { size: at + tail, extents }
  })

const target = fc.oneof(fc.constantFrom('a', '/etc/passwd', 'x'.repeat(4095), 'y'.repeat(4040)), fc.stringMatching(/^[a-z./]{1,200}$/))
const device = fc.tuple(fc.constantFrom(0, 1, 255, 4095), fc.constantFrom(0, 3, 256, 1_048_575))

const file: fc.Arbitrary<Description> = fc.tuple(attributes('file'), content)
  .map(([rest, bytes]) => ({ kind: 'file', content: bytes, ...rest }))
const holey: fc.Arbitrary<Description> = fc.tuple(attributes('file'), sparse).map(([rest, holes]) => ({ kind: 'file', ...holes, ...rest }))
const symlink: fc.Arbitrary<Description> = fc.tuple(attributes('symlink'), target).map(([rest, to]) => ({ kind: 'symlink', target: to, ...rest }))
const node: fc.Arbitrary<Description> = fc.tuple(attributes('char'), device, fc.constantFrom('char' as const, 'block' as const))
  .map(([rest, numbers, kind]) => ({ kind, device: numbers, ...rest }))
const fifo: fc.Arbitrary<Description> = attributes('fifo').map((rest) => ({ kind: 'fifo', ...rest }))

const leaf = fc.oneof({ weight: 5, arbitrary: file }, { weight: 1, arbitrary: holey }, { weight: 2, arbitrary: symlink },
  { weight: 1, arbitrary: node }, { weight: 1, arbitrary: fifo })

function directory (child: fc.Arbitrary<Description>, maxLength: number): fc.Arbitrary<Description> {
  return fc.tuple(attributes('directory'), fc.array(fc.tuple(name, child), { maxLength }))
    .map(([rest, pairs]) => ({ kind: 'directory', entries: Object.fromEntries(pairs), ...rest }))
}

/** A root directory, up to four levels deep, some of whose files have a second name in another directory. */
const randomTree: fc.Arbitrary<Description> = fc.tuple(
  directory(fc.oneof({ weight: 2, arbitrary: leaf }, { weight: 1, arbitrary: directory(fc.oneof(leaf, directory(leaf, 5)), 8) }), 14),
  fc.array(fc.tuple(name, fc.nat()), { maxLength: 5 })
).map(([root, links]) => withHardLinks(root, links))

function withHardLinks (root: Description, links: ReadonlyArray<readonly [string, number]>): Description {
  if (root.kind !== 'directory') return root
  const leaves = leavesOf(root)
  const more = links.flatMap(([at, pick]): Array<[string, Description]> => {
    const chosen = leaves[pick % Math.max(leaves.length, 1)]
    return chosen === undefined ? [] : [[at, chosen]]
  })
  return { ...root, entries: Object.fromEntries([...Object.entries(root.entries), ...more]) }
}

function leavesOf (node: Description): Description[] {
  return node.kind === 'directory' ? Object.values(node.entries).flatMap(leavesOf) : [node]
}

/** Runs `check` on `runs` random trees; a failure names the seed and path that repeat it, not the tree's thousands of bytes. */
export async function forRandomTrees (runs: number, check: (tree: Description) => Promise<void>): Promise<void> {
  const outcome = await fc.check(fc.asyncProperty(randomTree, check), { numRuns: runs, endOnFailure: true })
  if (!outcome.failed) return
  const cause = outcome.errorInstance instanceof Error ? outcome.errorInstance.message : String(outcome.errorInstance)
  throw new Error(`random tree, seed ${outcome.seed}, path ${outcome.counterexamplePath ?? ''}: ${cause}`)
}
