// POSIX ACL values as setxattr(2) takes them and getxattr(2) gives them: u32 version 2, then entries of u16 tag, u16
// permissions, u32 id. An applier stores an ACL with setxattr and then sets the mode; this file does the same to a value:
// it refuses what the kernel refuses (EINVAL), drops what it does not store, and folds the mode's bits in.
// Source: Linux fs/posix_acl.c (posix_acl_from_xattr, posix_acl_valid, posix_acl_equiv_mode, posix_acl_chmod).

const HEADER_BYTES = 4
const ENTRY_BYTES = 8
const VERSION = 2
const NO_ID = 0xFFFFFFFF

const USER_OBJ = 0x01
const USER = 0x02
const GROUP_OBJ = 0x04
const GROUP = 0x08
const MASK = 0x10
const OTHER = 0x20

interface Entry { readonly tag: number, readonly permissions: number, readonly id: number }

/** The ACL is no ACL for the kernel either: setxattr would answer EINVAL. */
export class MalformedAcl extends Error {}

/**
 * The value to store for an access ACL of a file with permission bits `mode`, or null when the kernel would keep none:
 * an empty ACL, one that says no more than the mode, or another version. Throws MalformedAcl.
 */
export function storedAccessAcl (value: Uint8Array, mode: number): Uint8Array | null {
  const entries = parse(value)
  if (entries === null || entries.length <= 3) return null // three entries are owner, group and others: the mode itself
  const hasMask = entries.some((entry) => entry.tag === MASK)
  return encode(entries.map((entry) => ({ ...entry, permissions: permissionsUnder(mode, entry, hasMask) })))
}

/** As storedAccessAcl, for a directory's default ACL, which the mode does not touch. */
export function storedDefaultAcl (value: Uint8Array): Uint8Array | null {
  const entries = parse(value)
  return entries === null || entries.length === 0 ? null : encode(entries)
}

function permissionsUnder (mode: number, entry: Entry, hasMask: boolean): number {
  if (entry.tag === USER_OBJ) return (mode >> 6) & 7
  if (entry.tag === OTHER) return mode & 7
  return entry.tag === (hasMask ? MASK : GROUP_OBJ) ? (mode >> 3) & 7 : entry.permissions
}

/** Null when the kernel would take the value for no ACL at all. */
function parse (value: Uint8Array): Entry[] | null {
  if (value.length === 0) return null
  if (value.length < HEADER_BYTES) throw new MalformedAcl(`${value.length} bytes`)
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  if (view.getUint32(0, true) !== VERSION) return null // EOPNOTSUPP, which appliers ignore
  if ((value.length - HEADER_BYTES) % ENTRY_BYTES !== 0) throw new MalformedAcl(`${value.length} bytes`)
  const entries: Entry[] = []
  for (let at = HEADER_BYTES; at < value.length; at += ENTRY_BYTES) {
    entries.push({ tag: view.getUint16(at, true), permissions: view.getUint16(at + 2, true), id: view.getUint32(at + 4, true) })
  }
  if (entries.length > 0) checkOrder(entries)
  return entries
}

// One owner, named users, one group, named groups, a mask (a must with named ones), one for others: in this order.
const GRAMMAR = /^o(u*)g(n*)(m?)t$/
const LETTERS: Readonly<Record<number, string>> = {
  [USER_OBJ]: 'o', [USER]: 'u', [GROUP_OBJ]: 'g', [GROUP]: 'n', [MASK]: 'm', [OTHER]: 't'
}

function checkOrder (entries: readonly Entry[]): void {
  const match = GRAMMAR.exec(entries.map((entry) => LETTERS[entry.tag] ?? '?').join(''))
  if (match === null) throw new MalformedAcl('entries that do not form an ACL')
  const [, users, groups, mask] = match
  if ((users !== '' || groups !== '') && mask === '') throw new MalformedAcl('named entries without a mask')
  for (const entry of entries) {
    if (entry.permissions > 7) throw new MalformedAcl(`permissions ${entry.permissions}`)
    if (isNamed(entry) && entry.id === NO_ID) throw new MalformedAcl('a named entry without an id')
  }
}

function isNamed (entry: Entry): boolean {
  return entry.tag === USER || entry.tag === GROUP
}

function encode (entries: readonly Entry[]): Uint8Array {
  const value = new Uint8Array(HEADER_BYTES + ENTRY_BYTES * entries.length)
  const view = new DataView(value.buffer)
  view.setUint32(0, VERSION, true)
  entries.forEach((entry, i) => {
    const at = HEADER_BYTES + ENTRY_BYTES * i
    view.setUint16(at, entry.tag, true)
    view.setUint16(at + 2, entry.permissions, true)
    view.setUint32(at + 4, isNamed(entry) ? entry.id : NO_ID, true)
  })
  return value
}
