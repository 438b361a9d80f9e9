// Where a key stands in a TOML text: smol-toml keeps no positions, and "line 14" is what an operator looks for. It reads headers and
// key lines only; the text has been parsed by then, so a line that looks like one is one, but for lines inside multi-line strings.

type Path = ReadonlyArray<string | number>

/** The line (from 1) of the key at `path`, else of its nearest table that the text names; null when it names none. */
export function lineOfKey (text: string, path: Path): number | null {
  let best: { line: number, length: number } | null = null
  let table: Path = []
  const seen = new Map<string, number>()
  for (const [index, line] of text.split('\n').entries()) {
    const list = /^\s*\[\[([^\]]+)\]\]/.exec(line)?.[1]
    const header = list ?? /^\s*\[([^\]]+)\]/.exec(line)?.[1]
    if (header !== undefined) {
      const names = namesOf(header)
      const count = seen.get(header) ?? 0
      if (list !== undefined) seen.set(header, count + 1)
      table = list === undefined ? names : [...names, count]
    }
    const key = header === undefined ? /^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=/.exec(line)?.[1] : undefined
    const here = key === undefined ? table : [...table, ...namesOf(key)]
    const matches = (header !== undefined || key !== undefined) && here.length <= path.length && here.every((part, at) => part === path[at])
    if (matches && here.length > (best?.length ?? 0)) best = { line: index + 1, length: here.length }
  }
  return best?.line ?? null
}

function namesOf (dotted: string): string[] {
  return (dotted.match(/[\w-]+|"[^"]*"|'[^']*'/g) ?? []).map((name) => name.replace(/^["']|["']$/g, ''))
}
