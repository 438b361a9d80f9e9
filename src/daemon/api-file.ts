// The file `api`, by which clients find an RPC of Kubo: a multiaddr in the folder that they take for a Kubo's. A folder that
// is a Kubo's is left alone.
import { access, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf, SnapshotterError, systemCode } from '../base/errors.ts'

/** @returns what removes it, unless it is another's by then. @throws CONFIG_INVALID, ENVIRONMENT. */
export async function writeApiFile (folder: string, multiaddr: string): Promise<() => Promise<void>> {
  if (await isThere(join(folder, 'datastore_spec'))) {
    throw new SnapshotterError('CONFIG_INVALID', `ipfs_api.folder ${folder} is the repository of a Kubo, whose file "api" is its own; name another folder`)
  }
  const file = join(folder, 'api')
  try {
    await mkdir(folder, { recursive: true, mode: 0o755 })
    await writeFile(`${file}.new`, multiaddr, { mode: 0o644 })
    await rename(`${file}.new`, file)
  } catch (cause) {
    throw new SnapshotterError('ENVIRONMENT', `${file} cannot be written (${systemCode(cause) ?? messageOf(cause)})`, {}, { cause })
  }
  return async () => { if (await readFile(file, 'utf8').catch(() => null) === multiaddr) await rm(file, { force: true }) }
}

async function isThere (file: string): Promise<boolean> {
  return await access(file).then(() => true, () => false)
}
