// What a package's contents weigh, the heaviest first.
import { LIB } from './contents.ts'
import type { Tree } from './tree.ts'

const SHOWN = 14

/** "  126.6 MB  usr/lib/…/bin/node", unpacked; what is light is summed in the last line. */
export function sizesOf (tree: Tree): string[] {
  const bytes = new Map<string, number>()
  for (const path of tree.files()) {
    if (path.startsWith('DEBIAN/')) continue
    bytes.set(groupOf(path), (bytes.get(groupOf(path)) ?? 0) + tree.size(path))
  }
  const sorted = [...bytes].sort(([, a], [, b]) => b - a)
  const rest = sorted.slice(SHOWN).reduce((sum, [, size]) => sum + size, 0)
  const all = sorted.reduce((sum, [, size]) => sum + size, 0)
  return [...sorted.slice(0, SHOWN), ['the rest', rest] as const, ['all, unpacked', all] as const]
    .map(([name, size]) => `${(size / 1e6).toFixed(1).padStart(7)} MB  ${name}`)
}

/** Programs by name, packages by name or scope, the rest by folder. */
function groupOf (path: string): string {
  const within = path.startsWith(`${LIB}/`) ? path.slice(LIB.length + 1).split('/') : null
  if (within === null) return path.split('/').slice(0, 3).join('/')
  return `${LIB}/${within.slice(0, ['bin', 'node_modules'].includes(within[0] ?? '') ? 2 : 1).join('/')}`
}
