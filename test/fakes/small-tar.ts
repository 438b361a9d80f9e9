// A small tar in memory, for tests that need some valid layer or archive.
import { pack } from 'tar-stream'

/** Names that end in `/` are directories. */
export async function smallTar (files: Readonly<Record<string, string>>): Promise<Uint8Array> {
  const archive = pack()
  for (const [name, content] of Object.entries(files)) {
    if (name.endsWith('/')) archive.entry({ name, type: 'directory', mtime: new Date(0) })
    else archive.entry({ name, mtime: new Date(0) }, content)
  }
  archive.finalize()
  const parts: Buffer[] = []
  for await (const part of archive) parts.push(part as Buffer)
  return Buffer.concat(parts)
}
