// The members of a tar archive by name, found by hopping from header to header, so that any of them can be read where it
// stands. Symbolic and hard links are followed inside the archive (docker save shares layers that way).
import { posix } from 'node:path'
import { SnapshotterError } from '../base/errors.ts'
import { MANIFEST_BYTES_MAX } from '../base/limits.ts'
import { byteSource, type ByteSource, endsEarly } from './byte-source.ts'
import { cleanPath } from './prefetch-list.ts'
import { type PlacedEntry, tarEntries } from './tar-entries.ts'

export interface ArchiveIndex {
  readonly names: readonly string[]
  readonly has: (path: string) => boolean
  /** The member's bytes in place, or null; `name` names them in messages. */
  readonly open: (path: string, name: string) => ByteSource | null
  /** A whole small member. @throws NOT_OCI when absent, LIMIT_EXCEEDED */
  readonly small: (path: string) => Promise<Buffer>
}

const LINKS_MAX = 8

/** @throws LAYER_INVALID when it is no tar. */
export async function indexArchive (archive: ByteSource): Promise<ArchiveIndex> {
  const members = new Map<string, PlacedEntry>()
  for await (const entry of tarEntries(archive)) members.set(cleanPath(entry.path), entry)
  const open = (path: string, name: string): ByteSource | null => {
    const entry = follow(members, cleanPath(path))
    return entry === null ? null : part(archive, entry, name)
  }
  return {
    names: [...members.keys()],
    has: (path) => follow(members, path) !== null,
    open,
    small: async (path) => {
      const source = open(path, `${archive.name}: ${path}`)
      if (source === null) throw new SnapshotterError('NOT_OCI', `${archive.name} has no member ${path}`)
      if (source.size > MANIFEST_BYTES_MAX) {
        throw new SnapshotterError('LIMIT_EXCEEDED', `${source.name} has ${source.size} bytes, limit ${MANIFEST_BYTES_MAX}`)
      }
      return await source.read(0, source.size)
    }
  }
}

function follow (members: ReadonlyMap<string, PlacedEntry>, path: string): PlacedEntry | null {
  let at = path
  for (let links = 0; links < LINKS_MAX; links++) {
    const entry = members.get(at)
    if (entry?.type === 'file') return entry
    if (entry?.type === 'hardlink') at = cleanPath(entry.linkTarget)
    else if (entry?.type === 'symlink') at = cleanPath(posix.join('/', posix.dirname(at), entry.linkTarget))
    else return null
  }
  return null
}

function part (archive: ByteSource, { dataOffset, size }: PlacedEntry, name: string): ByteSource {
  return byteSource(name, size, async (target, offset) => {
    if (offset < 0 || offset + target.byteLength > size) throw endsEarly(name, offset + target.byteLength, size)
    await archive.fill(target, dataOffset + offset)
  })
}
