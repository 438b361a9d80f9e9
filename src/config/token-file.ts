// A secret lives in a file that not everybody on the machine may read, never on a command line or in the configuration itself.
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { TOKEN_FILE_BYTES_MAX } from '../base/limits.ts'

const OTHERS = 0o007

/** What it holds, without blanks around it. @throws CONFIG_INVALID when it cannot be read, others may read it, or it is no token. */
export function readTokenFile (path: string): string {
  let file = -1
  try {
    file = openSync(path, 'r')
    const { mode, size } = fstatSync(file)
    if ((mode & OTHERS) !== 0) {
      const bits = (mode & 0o777).toString(8).padStart(4, '0')
      throw new SnapshotterError('CONFIG_INVALID', `token file ${path} is open to everybody on this machine (mode ${bits}); chmod 600 it, and change the token`)
    }
    if (size > TOKEN_FILE_BYTES_MAX) throw new SnapshotterError('CONFIG_INVALID', `token file ${path} has ${size} bytes, limit ${TOKEN_FILE_BYTES_MAX}`)
    const text = readFileSync(file, 'utf8').trim()
    if (text === '') throw new SnapshotterError('CONFIG_INVALID', `token file ${path} is empty`)
    return text
  } catch (cause) {
    if (cause instanceof SnapshotterError) throw cause
    throw new SnapshotterError('CONFIG_INVALID', `token file ${path} cannot be read (${systemCode(cause) ?? messageOf(cause)})`, {}, { cause })
  } finally {
    if (file >= 0) closeSync(file)
  }
}
