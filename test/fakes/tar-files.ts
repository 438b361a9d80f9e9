// Regular files of a tar archive in memory, for comparing an image's blobs with what was read over IPFS.
import { readFile } from 'node:fs/promises'
import { extract } from 'tar-stream'

export async function tarFiles (path: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  const archive = extract()
  archive.end(await readFile(path))
  for await (const entry of archive) {
    const parts: Buffer[] = []
    for await (const part of entry) parts.push(part as Buffer)
    if (entry.header.type === 'file') files.set(entry.header.name.replace(/^\.\//, ''), Buffer.concat(parts))
  }
  return files
}
