// Which extended attributes of an inode are stored, and as what. The rule is containerd's applier on an ordinary
// filesystem: what setxattr(2) answers with EOPNOTSUPP (or EPERM for user.* on a special file) is left out, what makes
// the applier fail is refused, so that an image either looks the same lazily and unpacked, or fails in both ways.
// Source: containerd pkg/archive/tar.go createTarFile; Linux fs/xattr.c, security/commoncap.c; erofs_fs.h name indexes.

import { excerpt } from '../base/bytes.ts'
import { SnapshotterError } from '../base/errors.ts'
import { NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX } from '../base/limits.ts'
import type { Inode, Xattr } from '../layer/layer-index.ts'
import { MalformedAcl, storedAccessAcl, storedDefaultAcl } from './acl.ts'
import { xxh32 } from './xxh32.ts'

/** A name as EROFS has it: the namespace's index, the rest of the name, and its bit in the name filter. */
export interface StoredName {
  readonly index: number
  readonly suffix: Uint8Array
  readonly filterBit: number
}

export interface StoredXattr {
  readonly name: StoredName
  readonly value: Uint8Array
}

const FILTER_SEED = 0x25BBE08F
const USER = 1
const ACL_ACCESS = 2
const ACL_DEFAULT = 3
const NAMESPACES = [['user.', USER], ['trusted.', 4], ['security.', 6]] as const
const CAPABILITY = 'security.capability'

/** Names repeat: a layer has a handful. Null: a namespace that no kernel filesystem stores. */
export type NameTable = Map<string, StoredName | null>

/** In the index's order. Throws LAYER_INVALID or LIMIT_EXCEEDED naming `what`, the file's name. */
export function storedXattrs (inode: Inode, names: NameTable, what: string): StoredXattr[] {
  const stored: StoredXattr[] = []
  let previous: Uint8Array | null = null
  for (const xattr of inode.xattrs) {
    if (previous !== null && Buffer.compare(previous, xattr.name) >= 0) throw invalid('unsorted or repeated names', xattr, what)
    previous = xattr.name
    const name = storedName(names, xattr, what)
    if (name === null) continue
    if (xattr.value.length > XATTR_VALUE_BYTES_MAX) {
      throw new SnapshotterError('LIMIT_EXCEEDED', `xattr ${excerpt(xattr.name)} of ${what} has ${xattr.value.length} bytes, ` +
        `more than ${XATTR_VALUE_BYTES_MAX}`)
    }
    const value = storedValue(inode, name, xattr, what)
    if (value !== null) stored.push({ name, value })
  }
  return stored
}

function storedName (names: NameTable, xattr: Xattr, what: string): StoredName | null {
  const text = Buffer.from(xattr.name.buffer, xattr.name.byteOffset, xattr.name.byteLength).toString('latin1')
  const known = names.get(text)
  if (known !== undefined) return known
  if (text.length > NAME_BYTES_MAX || text.includes('\0')) throw invalid('a name that is no xattr name', xattr, what)
  const name = parseName(text)
  if (name?.suffix.length === 0 && name.index !== ACL_ACCESS && name.index !== ACL_DEFAULT) throw invalid('an empty name', xattr, what)
  names.set(text, name)
  return name
}

function parseName (text: string): StoredName | null {
  if (text === 'system.posix_acl_access') return named(ACL_ACCESS, '')
  if (text === 'system.posix_acl_default') return named(ACL_DEFAULT, '')
  for (const [prefix, index] of NAMESPACES) {
    if (text.startsWith(prefix)) return named(index, text.slice(prefix.length))
  }
  return null
}

function named (index: number, rest: string): StoredName {
  const suffix = Buffer.from(rest, 'latin1')
  return { index, suffix, filterBit: xxh32(suffix, FILTER_SEED + index) & 31 }
}

/** Null: left out. */
function storedValue (inode: Inode, name: StoredName, xattr: Xattr, what: string): Uint8Array | null {
  if (name.index === USER) return inode.kind === 'file' || inode.kind === 'directory' ? xattr.value : null
  if (name.index === ACL_ACCESS || name.index === ACL_DEFAULT) return storedAcl(inode, name, xattr, what)
  if (Buffer.from(xattr.name).equals(CAPABILITY_NAME) && !isCapability(xattr.value)) throw invalid('a malformed value', xattr, what)
  return xattr.value
}

function storedAcl (inode: Inode, name: StoredName, xattr: Xattr, what: string): Uint8Array | null {
  try {
    const value = name.index === ACL_ACCESS ? storedAccessAcl(xattr.value, inode.mode) : storedDefaultAcl(xattr.value)
    if (value === null || inode.kind === 'symlink') return null // symlinks have no ACLs: EOPNOTSUPP
    if (name.index === ACL_DEFAULT && inode.kind !== 'directory') throw invalid('a default ACL on what is no directory', xattr, what)
    return value
  } catch (error) {
    if (error instanceof MalformedAcl) throw invalid(`a malformed ACL (${error.message})`, xattr, what)
    throw error
  }
}

const CAPABILITY_NAME = Buffer.from(CAPABILITY)

/** vfs_cap_data of revision 2 (20 bytes) or 3 (24 bytes, with a root id), as the kernel's cap_convert_nscap accepts. */
function isCapability (value: Uint8Array): boolean {
  const revision = value[3]
  return (value.length === 20 && revision === 2) || (value.length === 24 && revision === 3)
}

function invalid (problem: string, xattr: Xattr, what: string): SnapshotterError {
  return new SnapshotterError('LAYER_INVALID', `xattrs of ${what}: ${problem}: ${excerpt(xattr.name)} (${xattr.value.length} bytes)`)
}
