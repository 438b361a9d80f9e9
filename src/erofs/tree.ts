// Walks a layer's tree breadth first and proves that it is one: every name leads to an inode, names are valid, sorted
// and unique, each directory has one name, no cycles. Counts links itself instead of believing the index.

import { excerpt } from '../base/bytes.ts'
import { SnapshotterError } from '../base/errors.ts'
import { LAYER_ENTRIES_MAX, LINK_TARGET_BYTES_MAX, NAME_BYTES_MAX } from '../base/limits.ts'
import type { Inode, LayerIndex, NamedInode } from '../layer/layer-index.ts'

export interface TreeNode {
  /** In LayerIndex.inodes. */
  readonly position: number
  readonly inode: Inode
  /** Position of the directory that names it first; the root's is its own. */
  readonly parent: number
  /** Names; of a directory 2 + subdirectories. */
  links: number
  /** For messages: the first name, quoted. */
  readonly name: Uint8Array
}

const ID_MAX = 0xFFFFFFFE // the last number means "no id": such a file would belong to nobody
const MAJOR_MAX = 0xFFF // 12 and 20 bits: what the kernel's dev_t holds
const MINOR_MAX = 0xFFFFF

/** In breadth-first order: the root, its entries in name order, the entries of its first directory, and so on. */
export function walkTree (index: LayerIndex): TreeNode[] {
  const byPosition = new Array<TreeNode | undefined>(index.inodes.length)
  const nodes: TreeNode[] = []
  const root = inodeAt(index, 0, ROOT_NAME)
  if (root.kind !== 'directory') throw invalid('the root is no directory', ROOT_NAME)
  let names = 0
  visit({ position: 0, inode: root, parent: 0, links: 2, name: ROOT_NAME })
  for (let at = 0, node = nodes[at]; node !== undefined; node = nodes[++at]) {
    if (node.inode.kind !== 'directory') continue
    const entries = node.inode.entries ?? []
    names += entries.length
    if (names > LAYER_ENTRIES_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `the layer has more than ${LAYER_ENTRIES_MAX} names`)
    checkNames(entries)
    for (const entry of entries) follow(entry, node)
  }
  return nodes

  function visit (node: TreeNode): void {
    checkInode(node.inode, node.name)
    byPosition[node.position] = node
    nodes.push(node)
  }

  function follow ({ name, inode: position }: NamedInode, directory: TreeNode): void {
    const known = byPosition[position]
    const inode = known?.inode ?? inodeAt(index, position, name)
    if (inode.kind === 'directory') {
      if (known !== undefined) throw invalid('a directory with a second name', name)
      directory.links++
    }
    if (known === undefined) visit({ position, inode, parent: directory.position, links: inode.kind === 'directory' ? 2 : 1, name })
    else known.links++
  }
}

const ROOT_NAME = Uint8Array.of(0x2F)

function inodeAt (index: LayerIndex, position: number, name: Uint8Array): Inode {
  const inode = index.inodes[position]
  if (inode === undefined) throw invalid(`inode ${position} of ${index.inodes.length} does not exist`, name)
  return inode
}

function checkNames (entries: readonly NamedInode[]): void {
  let previous: Uint8Array | null = null
  for (const { name } of entries) {
    if (!isName(name)) throw invalid(`a name of ${name.length} bytes that no file can have`, name)
    if (previous !== null && Buffer.compare(previous, name) >= 0) throw invalid('a name that repeats or is out of order', name)
    previous = name
  }
}

function isName (name: Uint8Array): boolean {
  if (name.length === 0 || name.length > NAME_BYTES_MAX) return false
  for (const byte of name) if (byte === 0x2F || byte === 0) return false
  return name[0] !== 0x2E || name.length > 2 || (name.length === 2 && name[1] !== 0x2E)
}

function checkInode (inode: Inode, name: Uint8Array): void {
  if (!within(inode.mode, 0o7777)) throw invalid(`mode ${inode.mode}`, name)
  if (!within(inode.uid, ID_MAX) || !within(inode.gid, ID_MAX)) throw invalid(`owner ${inode.uid}:${inode.gid}`, name)
  if (!Number.isSafeInteger(inode.mtimeSeconds) || !within(inode.mtimeNanoseconds, 999_999_999)) {
    throw invalid(`mtime ${inode.mtimeSeconds} s + ${inode.mtimeNanoseconds} ns`, name)
  }
  if (inode.kind === 'file' && !within(inode.size, Number.MAX_SAFE_INTEGER)) throw invalid(`size ${inode.size}`, name)
  if (inode.kind === 'symlink') checkTarget(inode.target, name)
  if ((inode.kind === 'char' || inode.kind === 'block') && !(within(inode.rdevMajor, MAJOR_MAX) && within(inode.rdevMinor, MINOR_MAX))) {
    throw invalid(`device ${inode.rdevMajor}:${inode.rdevMinor}`, name)
  }
}

function checkTarget (target: Uint8Array | null, name: Uint8Array): void {
  const bytes = target?.length ?? 0
  if (target === null || bytes === 0 || bytes > LINK_TARGET_BYTES_MAX || target.includes(0)) {
    throw invalid(`a link target of ${bytes} bytes that no symlink can have`, name)
  }
}

function within (value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max
}

function invalid (problem: string, name: Uint8Array): SnapshotterError {
  return new SnapshotterError('LAYER_INVALID', `the layer's tree has ${problem}, at ${excerpt(name)}`)
}
