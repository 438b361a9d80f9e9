// Hashes of every file in the source tree against hashes computed inside the container.
import { run } from './run.ts'

/** Not part of the image: what mmdebstrap had mounted or downloaded, what runc mounts. */
const NOT_IN_IMAGE = /^\.\/(proc|sys|dev|run|tmp|var\/cache\/apt|var\/lib\/apt\/lists)\//
export const HASH_ALL = "find . -xdev -type f ! -path './proc/*' ! -path './sys/*' ! -path './dev/*' ! -path './run/*' -print0 | xargs -0 sha256sum"

export async function hashesOfTree (rootfs: string): Promise<Map<string, string>> {
  return parseHashes((await run('sh', ['-c', HASH_ALL], { cwd: rootfs, timeoutMs: 300_000 })).stdout)
}

export function parseHashes (text: string): Map<string, string> {
  const hashes = new Map<string, string>()
  for (const line of text.split('\n')) {
    const match = /^\\?([0-9a-f]{64}) [ *](.*)$/.exec(line)
    if (match?.[1] !== undefined && match[2] !== undefined && !NOT_IN_IMAGE.test(match[2])) hashes.set(match[2], match[1])
  }
  return hashes
}

/** Paths that differ or are missing on one side. */
export function differences (source: ReadonlyMap<string, string>, inside: ReadonlyMap<string, string>): string[] {
  const paths = new Set([...source.keys(), ...inside.keys()])
  return [...paths].filter((path) => source.get(path) !== inside.get(path))
}
