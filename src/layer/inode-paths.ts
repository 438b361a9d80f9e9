// The paths of some inodes, for messages: one walk over the names of a layer.
import type { LayerIndex } from './layer-index.ts'

/** By position in `inodes`; of hard links one name. Paths start with `/`. */
export function inodePaths (index: LayerIndex, wanted: ReadonlySet<number>): Map<number, string> {
  const found = new Map<number, string>()
  const folders: Array<readonly [position: number, path: string]> = [[0, '']]
  for (let folder = folders.pop(); folder !== undefined && found.size < wanted.size; folder = folders.pop()) {
    const [position, path] = folder
    for (const { name, inode } of index.inodes[position]?.entries ?? []) {
      const here = `${path}/${Buffer.from(name).toString('utf8')}`
      if (wanted.has(inode)) found.set(inode, here)
      if (index.inodes[inode]?.kind === 'directory') folders.push([inode, here])
    }
  }
  return found
}
