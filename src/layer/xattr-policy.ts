// Which extended attributes of an entry survive: what containerd's applier would have set on Linux. trusted.* is never a
// publisher's to set; user.overlay.* would steer a rootless overlay; namespaces the kernel does not know are skipped.
import { SnapshotterError } from '../base/errors.ts'
import { XATTR_BYTES_PER_INODE_MAX, XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX } from '../base/limits.ts'
import { show } from './layer-entry.ts'
import type { InodeKind } from './layer-index.ts'
import type { TreeNode } from './tree-node.ts'
import type { Origin } from './tree-path.ts'

export const OPAQUE_XATTR = 'trusted.overlay.opaque'

/** setxattr(2) for each attribute that the kind of inode takes. @throws the origin's code, LIMIT_EXCEEDED */
export function setXattrs (node: TreeNode, xattrs: ReadonlyMap<string, Uint8Array>, path: string, origin: Origin): void {
  if (xattrs.size === 0) return
  for (const [name, value] of xattrs) {
    if (name.includes('\0')) throw new SnapshotterError(origin.code, `${origin.what}: NUL in an xattr name of ${show(path)}`)
    if (!isKept(name, node.kind)) continue
    checkSizes(name, value, path, origin)
    node.xattrs ??= new Map()
    node.xattrs.set(name, value)
  }
  checkTotal(node, path, origin)
}

function isKept (name: string, kind: InodeKind): boolean {
  const dot = name.indexOf('.')
  switch (name.slice(0, dot + 1)) {
    case 'security.': return true
    case 'user.': return (kind === 'file' || kind === 'directory') && !name.startsWith('user.overlay.')
    case 'system.':
      return (name === 'system.posix_acl_access' && kind !== 'symlink') || (name === 'system.posix_acl_default' && kind === 'directory')
    default: return false
  }
}

function checkSizes (name: string, value: Uint8Array, path: string, origin: Origin): void {
  if (name.endsWith('.') && name.indexOf('.') === name.length - 1) {
    throw new SnapshotterError(origin.code, `${origin.what}: xattr without a name on ${show(path)}`)
  }
  if (name.length > XATTR_NAME_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED',
      `${origin.what}: xattr name of ${name.length} bytes on ${show(path)}, limit ${XATTR_NAME_BYTES_MAX}`)
  }
  if (value.byteLength > XATTR_VALUE_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED',
      `${origin.what}: xattr ${show(name)} of ${value.byteLength} bytes on ${show(path)}, limit ${XATTR_VALUE_BYTES_MAX}`)
  }
}

function checkTotal (node: TreeNode, path: string, origin: Origin): void {
  let total = 0
  for (const [name, value] of node.xattrs ?? []) total += name.length + value.byteLength + 8 // entry head and padding at most
  if (total <= XATTR_BYTES_PER_INODE_MAX) return
  throw new SnapshotterError('LIMIT_EXCEEDED',
    `${origin.what}: ${total} bytes of xattrs on ${show(path)}, limit ${XATTR_BYTES_PER_INODE_MAX}`)
}
