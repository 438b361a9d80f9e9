// Small file trees for snapshot tests: steps that make or change one, and a listing to compare two.
import { chmodSync, chownSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Changes the tree at `root`. */
export type Step = (root: string) => void

export const file = (path: string, content: string, mode: number): Step => (root) => {
  writeFileSync(join(root, path), content)
  chmodSync(join(root, path), mode)
}

export const dir = (path: string, mode: number): Step => (root) => {
  mkdirSync(join(root, path))
  chmodSync(join(root, path), mode)
}

export const removeAll = (path: string): Step => (root) => rmSync(join(root, path), { recursive: true, force: true })
export const owner = (path: string, uid: number, gid: number): Step => (root) => chownSync(join(root, path), uid, gid)
export const hardLink = (from: string, to: string): Step => (root) => linkSync(join(root, from), join(root, to))
export const move = (from: string, to: string): Step => (root) => renameSync(join(root, from), join(root, to))
export const all = (...steps: Step[]): Step => (root) => steps.forEach((step) => step(root))

/** Path → type, mode, owner and content of everything below `root`; times differ by nature and are left out. */
export function listing (root: string): Record<string, string> {
  return Object.fromEntries(pathsBelow(root, '').sort().map((path) => [path, describe(join(root, path))]))
}

// Node's own recursive readdir follows symbolic links.
function pathsBelow (root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? [path, ...pathsBelow(root, path)] : [path]
  })
}

function describe (path: string): string {
  const entry = lstatSync(path)
  const content = entry.isFile() ? readFileSync(path, 'latin1') : entry.isSymbolicLink() ? readlinkSync(path) : ''
  return `${entry.mode.toString(8)} ${entry.uid}:${entry.gid} ${JSON.stringify(content)}`
}
