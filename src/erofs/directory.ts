// Directory blocks: entries in unsigned byte order with `.` and `..` sorted among them, each block filled as far as it
// goes: 12-byte entries first, then their names without gaps; the kernel searches them by halving.

import type { NamedInode } from '../layer/layer-index.ts'
import { BLOCK_BYTES, DIRENT_BYTES } from './format.ts'

const DOT = Uint8Array.of(0x2E)
const DOT_DOT = Uint8Array.of(0x2E, 0x2E)

/** The entries with `.` and `..` at their places. `self` and `parent` are positions in the index; names are sorted and checked. */
export function withDots (entries: readonly NamedInode[], self: number, parent: number): NamedInode[] {
  const listing: NamedInode[] = []
  let before = 0
  for (const dots of [{ name: DOT, inode: self }, { name: DOT_DOT, inode: parent }]) {
    let entry = entries[before]
    while (entry !== undefined && Buffer.compare(entry.name, dots.name) < 0) {
      listing.push(entry)
      entry = entries[++before]
    }
    listing.push(dots)
  }
  for (; before < entries.length; before++) {
    const entry = entries[before]
    if (entry !== undefined) listing.push(entry)
  }
  return listing
}

/** i_size: whole blocks, then the bytes used in the last one (never 0). */
export function directorySize (listing: readonly NamedInode[]): number {
  let fullBlocks = 0
  let used = 0
  for (const { name } of listing) {
    const bytes = DIRENT_BYTES + name.length
    if (used + bytes > BLOCK_BYTES) {
      fullBlocks++
      used = 0
    }
    used += bytes
  }
  return fullBlocks * BLOCK_BYTES + used
}

/** What an entry points at. */
export interface DirentTarget {
  readonly nid: number
  readonly fileType: number
}

/** `positionOf` says where in `out` (zero-filled) each block of the directory stands, by number. */
export function writeDirectory (
  out: Buffer, listing: readonly NamedInode[], positionOf: (block: number) => number, targetOf: (inode: number) => DirentTarget
): void {
  let block = 0
  for (let start = 0; start < listing.length; block++) {
    const end = blockEnd(listing, start)
    writeBlock(out, listing.slice(start, end), positionOf(block), targetOf)
    start = end
  }
}

function blockEnd (listing: readonly NamedInode[], start: number): number {
  let used = 0
  let end = start
  for (let entry = listing[end]; entry !== undefined; entry = listing[++end]) {
    used += DIRENT_BYTES + entry.name.length
    if (used > BLOCK_BYTES) break
  }
  return end
}

function writeBlock (out: Buffer, entries: readonly NamedInode[], position: number, targetOf: (inode: number) => DirentTarget): void {
  let nameOffset = DIRENT_BYTES * entries.length
  let at = position
  for (const { name, inode } of entries) {
    const target = targetOf(inode)
    out.writeUInt32LE(target.nid, at) // the upper half stays 0: metadata is far smaller than 128 GiB
    out.writeUInt16LE(nameOffset, at + 8)
    out[at + 10] = target.fileType
    out.set(name, position + nameOffset)
    nameOffset += name.length
    at += DIRENT_BYTES
  }
}
