// Where the text before an entry's last name led: neighbours in a layer share it, and finding it again costs more than all
// else about an entry. Knows only entries with an ordinary last name. Must be cleared when a name on the way changes its
// meaning, that is, when a directory or a symbolic link is replaced.
import { NAME_BYTES_MAX, PARENTS_REMEMBERED_MAX, PATH_BYTES_MAX } from '../base/limits.ts'
import type { TreeNode } from './tree-node.ts'

/** Where an entry goes. */
export interface Place {
  readonly parent: TreeNode
  readonly base: string
  /** Written without any directory before it. */
  readonly top: boolean
}

type Parent = Omit<Place, 'base'>

export class ParentCache {
  readonly #parents = new Map<string, Parent>()

  find (path: string): Place | null {
    const split = splitPath(path)
    const known = split === null ? undefined : this.#parents.get(split.before)
    if (split === null || known === undefined || split.base.length > NAME_BYTES_MAX || split.base.includes('\0')) return null
    return { parent: known.parent, base: split.base, top: known.top }
  }

  remember (path: string, { parent, top }: Parent): void {
    const split = splitPath(path)
    if (split === null) return
    if (this.#parents.size >= PARENTS_REMEMBERED_MAX) this.#parents.clear()
    this.#parents.set(split.before, { parent, top })
  }

  clear (): void {
    this.#parents.clear()
  }
}

/** Null when cleaning would do more than drop a slash at the end. */
function splitPath (path: string): { readonly before: string, readonly base: string } | null {
  const end = path.endsWith('/') ? path.length - 1 : path.length
  const start = path.lastIndexOf('/', end - 1) + 1
  const base = path.slice(start, end)
  if (path.length > PATH_BYTES_MAX || base === '' || base === '.' || base === '..') return null
  return { before: path.slice(0, start), base }
}
