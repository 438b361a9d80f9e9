// Names of entries as containerd's applier understands them: cleaned as text, `..` stopped at the root, parents resolved
// through the symbolic links of this very layer (continuity's fs.RootPath), with limits by name.
import { type ErrorCode, SnapshotterError } from '../base/errors.ts'
import { LINKS_FOLLOWED_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX } from '../base/limits.ts'
import { show } from './layer-entry.ts'
import type { TreeNode } from './tree-node.ts'

/** What a message and an error code need to know about the source. */
export interface Origin {
  readonly what: string
  readonly code: ErrorCode
}

/** The components of a path, cleaned: no empty ones, no `.`, no `..`. */
export function cleanPath (path: string, origin: Origin): string[] {
  const components: string[] = []
  if (path.includes('\0')) throw new SnapshotterError(origin.code, `${origin.what}: NUL in the name ${show(path)}`)
  if (path.length > PATH_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${origin.what}: path of ${path.length} bytes, limit ${PATH_BYTES_MAX}`)
  }
  for (const component of path.split('/')) {
    if (component === '' || component === '.') continue
    if (component === '..') components.pop()
    else components.push(component)
  }
  return components
}

/** @throws LIMIT_EXCEEDED for names and depths that no filesystem of ours holds. */
export function checkPath (components: readonly string[], origin: Origin): void {
  if (components.length > PATH_DEPTH_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${origin.what}: path of ${components.length} components, limit ${PATH_DEPTH_MAX}`)
  }
  const long = components.find((component) => component.length > NAME_BYTES_MAX)
  if (long === undefined) return
  throw new SnapshotterError('LIMIT_EXCEEDED', `${origin.what}: name of ${long.length} bytes, limit ${NAME_BYTES_MAX}: ${show(long)}`)
}

/** A longer path counts as several links: cleaning it costs as much. */
const LINK_BYTES = 256

/** Links that may still be followed in a whole layer: a million entries behind 255 links each would take an hour. */
export interface LinkBudget { left: number }

/** Replaces symbolic links among the components. What does not exist stays as it is; link targets cannot leave the root. */
export function resolveLinks (root: TreeNode, components: readonly string[], budget: LinkBudget, origin: Origin): readonly string[] {
  let path = components
  for (let followed = 0; ; followed++) {
    const link = firstLink(root, path)
    if (link === null) return path
    if (followed >= LINKS_FOLLOWED_MAX) {
      throw new SnapshotterError('LIMIT_EXCEEDED',
        `${origin.what}: more than ${LINKS_FOLLOWED_MAX} links to follow: ${show(components.join('/'))}`)
    }
    const base = link.target.startsWith('/') ? [] : path.slice(0, link.at)
    const next = [...base, link.target, ...path.slice(link.at + 1)].join('/')
    budget.left -= Math.ceil(next.length / LINK_BYTES)
    if (budget.left < 0) throw new SnapshotterError('LIMIT_EXCEEDED', `${origin.what}: more links to follow than two for each entry`)
    path = cleanPath(next, origin)
    checkPath(path, origin)
  }
}

function firstLink (root: TreeNode, path: readonly string[]): { at: number, target: string } | null {
  let node: TreeNode | undefined = root
  for (let at = 0; at < path.length; at++) {
    node = node.entries?.get(path[at] ?? '')
    if (node === undefined) return null
    if (node.kind === 'symlink') return { at, target: node.target }
  }
  return null
}
