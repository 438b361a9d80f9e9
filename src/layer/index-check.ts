// Is a decoded index a tree? One root, every inode reachable, directories with one name each, names and xattrs sorted,
// chunks in order inside their files. Fills in the link counts, which records do not carry.
import { compareBytes } from '../base/bytes.ts'
import type { Chunk, Inode, LayerIndex, NamedInode } from './layer-index.ts'

type Writable<Type> = { -readonly [Key in keyof Type]: Type[Key] }

/** Null when all is well, else the first problem. Sets `linkCount` of each inode. */
export function completeIndex (inodes: Inode[], chunks: readonly Chunk[]): string | null {
  return treeProblem(inodes) ?? xattrProblem(inodes) ?? chunkProblem(inodes, chunks)
}

function treeProblem (inodes: Inode[]): string | null {
  if (inodes[0]?.entries === undefined || inodes[0].entries === null) return 'there is no root directory'
  const links = new Uint32Array(inodes.length)
  links[0] = 2
  const found = [0]
  for (const position of found) {
    const entries = inodes[position]?.entries ?? []
    const problem = nameProblem(entries)
    if (problem !== null) return problem
    for (const { inode } of entries) {
      const child = inodes[inode]
      const known = links[inode]
      if (child === undefined || known === undefined) return `a name leads to inode ${inode} of ${inodes.length}`
      if (known === 0) found.push(inode)
      else if (child.entries !== null) return `the directory ${inode} has two names`
      links[inode] = child.entries === null ? known + 1 : 2
      if (child.entries !== null) links[position] = (links[position] ?? 0) + 1
    }
  }
  if (found.length !== inodes.length) return `${inodes.length - found.length} inodes have no name`
  for (const [position, inode] of inodes.entries()) (inode as Writable<Inode>).linkCount = links[position] ?? 0
  return null
}

function nameProblem (entries: readonly NamedInode[]): string | null {
  for (const [i, { name }] of entries.entries()) {
    const before = entries[i - 1]
    if (before !== undefined && compareBytes(before.name, name) >= 0) return 'names are not sorted'
    if (name.byteLength === 0 || name.includes(0) || name.includes(0x2f)) return 'a name is empty or has NUL or "/" in it'
    if (name[0] === 0x2e && (name.byteLength === 1 || (name.byteLength === 2 && name[1] === 0x2e))) return 'a name is "." or ".."'
  }
  return null
}

function xattrProblem (inodes: readonly Inode[]): string | null {
  const unsorted = inodes.some(({ xattrs }) => xattrs.some(({ name }, i) => {
    const before = xattrs[i - 1]
    return name.byteLength === 0 || name.includes(0) || (before !== undefined && compareBytes(before.name, name) >= 0)
  }))
  return unsorted ? 'xattrs are not sorted' : null
}

function chunkProblem (inodes: readonly Inode[], chunks: LayerIndex['chunks']): string | null {
  let position = 0
  for (const inode of inodes) {
    let end = 0
    for (let left = inode.chunkCount; left > 0; left--) {
      const chunk = chunks[position++]
      if (chunk === undefined) return 'chunks are missing'
      if (chunk.size === 0 || chunk.fileOffset < end || chunk.fileOffset + chunk.size > inode.size) return 'a chunk is not inside its file'
      end = chunk.fileOffset + chunk.size
    }
  }
  return position === chunks.length ? null : 'there are chunks of no file'
}
