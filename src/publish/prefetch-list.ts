// The list of --prefetch-list: one path a line, as the container sees it. Blank lines and lines that begin with # are
// passed over; a path counts once, where it first stands.
import { readFile, stat } from 'node:fs/promises'
import { SnapshotterError } from '../base/errors.ts'
import { PUBLISH_PREFETCH_LIST_BYTES_MAX } from '../base/limits.ts'

/** Cleaned paths (binary strings) in order. @throws NOT_FOUND, LIMIT_EXCEEDED */
export async function readPrefetchList (path: string): Promise<string[]> {
  const facts = await stat(path).catch((cause: unknown) => {
    throw new SnapshotterError('NOT_FOUND', `prefetch list ${path} cannot be read`, {}, { cause })
  })
  if (facts.size > PUBLISH_PREFETCH_LIST_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `prefetch list ${path} has ${facts.size} bytes, limit ${PUBLISH_PREFETCH_LIST_BYTES_MAX}`)
  }
  const lines = (await readFile(path)).toString('latin1').split(/\r?\n/)
  return [...new Set(lines.filter((line) => line.trim() !== '' && !line.startsWith('#')).map(cleanPath))]
}

/** `./usr//bin/`, `/usr/bin` and `usr/bin` are one path; the root is ''. */
export function cleanPath (path: string): string {
  return path.split('/').filter((part) => part !== '' && part !== '.').join('/')
}
