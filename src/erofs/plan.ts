// Decides the shape of every inode of a metadata image and its place: inodes breadth first by directory, short ones into
// the gaps that inline tails leave, then the shared xattrs, then whole blocks of large directories.
// The same index always gives the same plan.

import { alignUp, excerpt } from '../base/bytes.ts'
import { SnapshotterError } from '../base/errors.ts'
import { EROFS_METADATA_BYTES_MAX } from '../base/limits.ts'
import type { LayerIndex, NamedInode } from '../layer/layer-index.ts'
import { directorySize, withDots } from './directory.ts'
import { BLOCK_BYTES, COMPACT_INODE_BYTES, EXTENDED_INODE_BYTES, NID_BYTES } from './format.ts'
import { chooseEpoch, type Epoch } from './epoch.ts'
import { InodePlacer } from './inode-placer.ts'
import { type TreeNode, walkTree } from './tree.ts'
import { type NameTable, storedXattrs } from './xattr-rules.ts'
import { type XattrBody, XattrPlan } from './xattr-plan.ts'

export interface PlannedInode extends TreeNode {
  /** i_size. */
  readonly size: number
  readonly headerBytes: number
  readonly xattrs: XattrBody | null
  /** Of a directory, with `.` and `..`; else null. */
  readonly listing: readonly NamedInode[] | null
  /** Bytes of content that stand right behind inode and xattrs. */
  tailBytes: number
  /** Whole blocks of content in the metadata image. */
  blocks: number
  /** Bytes from the start of the image to the inode. */
  offset: number
  /** Number of the first of `blocks`; 0 without. */
  firstBlock: number
}

export interface ImagePlan {
  readonly inodes: readonly PlannedInode[]
  readonly byPosition: ReadonlyArray<PlannedInode | undefined>
  readonly epoch: Epoch
  readonly xattrs: XattrPlan
  /** 0 when nothing is shared. */
  readonly sharedXattrBlock: number
  /** The whole metadata image. */
  readonly blocks: number
}

/** `firstInode`: offset of the first free byte, a multiple of 32. Throws LAYER_INVALID and LIMIT_EXCEEDED. */
export function planImage (index: LayerIndex, firstInode: number): ImagePlan {
  const nodes = walkTree(index)
  const epoch = chooseEpoch(nodes)
  const xattrs = new XattrPlan()
  const names: NameTable = new Map()
  const inodes = nodes.map((node) => shape(node, epoch, planXattrs(node, xattrs, names)))
  xattrs.share()
  const byPosition = new Array<PlannedInode | undefined>(index.inodes.length)
  const placer = new InodePlacer(firstInode)
  for (const planned of inodes) {
    chooseTail(planned)
    planned.offset = placer.place(planned.headerBytes, (planned.xattrs?.bytes ?? 0) + planned.tailBytes, planned.tailBytes > 0)
    byPosition[planned.position] = planned
  }
  let block = alignUp(placer.end, BLOCK_BYTES) / BLOCK_BYTES
  const sharedXattrBlock = xattrs.sharedBytes > 0 ? block : 0
  block += alignUp(xattrs.sharedBytes, BLOCK_BYTES) / BLOCK_BYTES
  for (const planned of inodes) {
    if (planned.blocks === 0) continue
    planned.firstBlock = block
    block += planned.blocks
  }
  if (block * BLOCK_BYTES > EROFS_METADATA_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED',
      `metadata of the layer needs ${block * BLOCK_BYTES} bytes, more than ${EROFS_METADATA_BYTES_MAX}`)
  }
  return { inodes, byPosition, epoch, xattrs, sharedXattrBlock, blocks: block }
}

/** An inode's number: root_nid, dirents and i_ino. */
export function nidOf (planned: PlannedInode): number {
  return planned.offset / NID_BYTES
}

function planXattrs (node: TreeNode, xattrs: XattrPlan, names: NameTable): XattrBody | null {
  return node.inode.xattrs.length === 0 ? null : xattrs.add(storedXattrs(node.inode, names, excerpt(node.name)))
}

function shape (node: TreeNode, epoch: Epoch, xattrs: XattrBody | null): PlannedInode {
  const { position, inode, parent, links, name } = node
  const listing = inode.kind === 'directory' ? withDots(inode.entries ?? [], position, parent) : null
  const size = listing !== null ? directorySize(listing) : inode.kind === 'file' ? inode.size : inode.target?.length ?? 0
  const compact = epoch.fits(node) && size <= 0xFFFFFFFF
  const headerBytes = compact ? COMPACT_INODE_BYTES : EXTENDED_INODE_BYTES
  return { position, inode, parent, links, name, size, headerBytes, xattrs, listing, tailBytes: 0, blocks: 0, offset: 0, firstBlock: 0 }
}

/** Directories and symlinks carry their last block's bytes inline when inode, xattrs and tail fit one block together. */
function chooseTail (planned: PlannedInode): void {
  if (planned.listing === null && planned.inode.kind !== 'symlink') return
  const tail = planned.size % BLOCK_BYTES
  const fits = planned.headerBytes + (planned.xattrs?.bytes ?? 0) + tail <= BLOCK_BYTES
  planned.tailBytes = fits ? tail : 0
  planned.blocks = Math.ceil((planned.size - planned.tailBytes) / BLOCK_BYTES)
}
