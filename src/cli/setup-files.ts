// Replaces a file of the system's configuration whole or not at all: mode and owner stay, a symbolic link stays one, and the old
// text stays beside it as FILE.bak-N. Refuses a file that changed since it was read.
import {
  chmodSync, chownSync, closeSync, constants, copyFileSync, fsyncSync, mkdirSync, openSync, readFileSync, realpathSync, renameSync, rmSync,
  statSync, writeFileSync
} from 'node:fs'
import { dirname } from 'node:path'
import { messageOf, SnapshotterError, systemCode } from '../base/errors.ts'

/** Null when there is none. @throws CONFIG_INVALID */
export function readOptional (file: string): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(file))
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null
    throw new SnapshotterError('CONFIG_INVALID', `${file} cannot be read (${systemCode(cause) ?? messageOf(cause)})`, {}, { cause })
  }
}

/** The backup's path, null when there was no file. `before` is what was read of it. @throws ENVIRONMENT */
export function replaceFile (file: string, before: string | null, after: string): string | null {
  try {
    return replace(file, before, after)
  } catch (cause) {
    if (cause instanceof SnapshotterError) throw cause
    throw new SnapshotterError('ENVIRONMENT', `${file} cannot be written (${systemCode(cause) ?? messageOf(cause)})`, {}, { cause })
  }
}

function replace (file: string, before: string | null, after: string): string | null {
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 })
  if (readOptional(file) !== before) throw new SnapshotterError('FAILED_PRECONDITION', `${file} changed while it was being edited; run it again`)
  const target = before === null ? file : realpathSync(file)
  const was = before === null ? null : statSync(target)
  const backup = was === null ? null : backUp(target)
  if (was !== null && backup !== null) chownSync(backup, was.uid, was.gid)
  const draft = `${target}.new-${process.pid}`
  const handle = openSync(draft, 'wx', was === null ? 0o644 : 0o600)
  try {
    writeFileSync(handle, after)
    if (was !== null) {
      chownSync(draft, was.uid, was.gid)
      chmodSync(draft, was.mode & 0o7777)
    }
    fsyncSync(handle)
    renameSync(draft, target)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  } finally {
    closeSync(handle)
  }
  const folder = openSync(dirname(target), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
  return backup
}

/** The first number that is free. */
function backUp (file: string): string {
  for (let number = 1; ; number++) {
    const backup = `${file}.bak-${number}`
    try {
      copyFileSync(file, backup, constants.COPYFILE_EXCL)
      return backup
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error
    }
  }
}
