// The right to use a folder alone, for as long as this process lives: an exclusive lock of SQLite (the kernel's POSIX lock
// on `<folder>/lock`), which the kernel lets go whatever the process dies of. Nothing is ever written into the file.
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { messageOf, SnapshotterError } from '../base/errors.ts'
import { LOCK_PATIENCE_MS } from '../base/limits.ts'

export const LOCK_NAME = 'lock'

/** The folder exists. @throws FAILED_PRECONDITION naming who has it, after LOCK_PATIENCE_MS; ENVIRONMENT when it cannot be locked at all. */
export function lockFolder (folder: string, patienceMs = LOCK_PATIENCE_MS): Disposable {
  const path = join(folder, LOCK_NAME)
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path, { timeout: patienceMs })
    database.exec('PRAGMA journal_mode = MEMORY') // no file beside it
    database.exec('BEGIN EXCLUSIVE')
  } catch (cause) {
    database?.close()
    if (/locked/.test(messageOf(cause))) {
      const holder = holderOf(path)
      const by = holder === null ? 'another daemon' : `another daemon (pid ${holder})`
      throw new SnapshotterError('FAILED_PRECONDITION', `${folder} is in use by ${by}; stop it or choose other folders`, {}, { cause })
    }
    throw new SnapshotterError('ENVIRONMENT', `cannot lock ${path}: ${messageOf(cause)}`, {}, { cause })
  }
  const held = database
  return { [Symbol.dispose]: () => { held.close() } }
}

/** The pid that /proc/locks names, or null: it may be in another pid namespace. */
function holderOf (path: string): number | null {
  try {
    const { ino } = statSync(path)
    const line = readFileSync('/proc/locks', 'utf8').split('\n').find((text) => text.includes('POSIX') && text.includes(`:${ino} `))
    const pid = Number(line?.trim().split(/\s+/)[4])
    return Number.isSafeInteger(pid) && pid > 0 ? pid : null
  } catch {
    return null
  }
}
