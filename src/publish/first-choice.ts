// Which entries of a tar can stand before all others without a change of meaning: wanted paths, the directories they are
// in, and all names of a hard-linked file together, since each of them restyles the inode. An entry whose place matters
// stays: a name that occurs twice, a whiteout or what stands beside its own, a name that others lie below without being
// a directory. A tar with entries behind its own symbolic links is left alone.
import { cleanPath } from './prefetch-list.ts'
import type { PlacedEntry } from './tar-entries.ts'

interface Seen {
  readonly headerOffset: number
  readonly type: PlacedEntry['type']
  /** Of a hard link: the cleaned target. */
  readonly target: string | null
  readonly count: number
}

const WHITEOUT = '.wh.'
const LINK_CHAIN_MAX = 8

export class FirstChoice {
  readonly #seen = new Map<string, Seen>()
  readonly #parents = new Set<string>()
  /** The first name of a file → its further names in order. */
  readonly #links = new Map<string, string[]>()

  /** Entries in the order of the tar; `path` is cleaned. */
  see (path: string, { headerOffset, type, linkTarget }: PlacedEntry): void {
    const target = type === 'hardlink' ? cleanPath(linkTarget) : null
    this.#seen.set(path, { headerOffset, type, target, count: (this.#seen.get(path)?.count ?? 0) + 1 })
    for (const parent of ancestors(path)) this.#parents.add(parent)
    const file = target === null ? null : this.#fileOf(target)
    if (file === null) return
    const links = this.#links.get(file)
    if (links === undefined) this.#links.set(file, [path])
    else links.push(path)
  }

  /** Header offsets, in the order of the list. */
  choose (wanted: readonly string[]): number[] {
    const chosen = new Set<number>()
    const behindLinks = [...this.#parents].some((path) => this.#seen.get(path)?.type === 'symlink')
    const files = new Set(behindLinks ? [] : wanted.map((path) => this.#firstNameOf(path))) // each once, whatever it is called
    for (const file of files) {
      for (const need of this.#needs(file) ?? []) chosen.add(this.#seen.get(need)?.headerOffset ?? 0)
    }
    return [...chosen]
  }

  #firstNameOf (path: string): string | null {
    const entry = this.#seen.get(path)
    if (entry === undefined) return null
    return entry.target === null ? path : this.#fileOf(entry.target)
  }

  /** What must come along, in order; null when the file must not move. */
  #needs (file: string | null): string[] | null {
    if (file === null) return null
    const needs: string[] = []
    for (const name of [file, ...this.#links.get(file) ?? []]) {
      const parents = ancestors(name)
      if (![name, ...parents].every((each) => this.#isMovable(each))) return null
      needs.push(...parents.filter((parent) => this.#seen.has(parent)), name)
    }
    return needs
  }

  /** The first name of the file that a hard link's target is. */
  #fileOf (target: string): string | null {
    let path = target
    for (let hops = 0; hops < LINK_CHAIN_MAX; hops++) {
      const entry = this.#seen.get(path)
      if (entry === undefined) return null
      if (entry.target === null) return path
      path = entry.target
    }
    return null
  }

  #isMovable (path: string): boolean {
    const entry = this.#seen.get(path)
    const slash = path.lastIndexOf('/') + 1
    const base = path.slice(slash)
    if (base.startsWith(WHITEOUT) || this.#seen.has(`${path.slice(0, slash)}${WHITEOUT}${base}`)) return false
    if (entry === undefined) return true
    return entry.count === 1 && (entry.type === 'directory' || !this.#parents.has(path))
  }
}

/** `a/b/c` → `a`, `a/b`. */
function ancestors (path: string): string[] {
  const parts = path.split('/')
  return parts.slice(0, -1).map((_, depth) => parts.slice(0, depth + 1).join('/'))
}
