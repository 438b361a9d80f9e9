// What durable writing has in common wherever it is done: names that survive a cut of power, and what a full disk is called.
import { open } from 'node:fs/promises'
import { SnapshotterError, systemCode } from './errors.ts'

const FULL = ['ENOSPC', 'EDQUOT', 'EROFS', 'EFBIG']

/** What was renamed, made or removed in the folder stays so. */
export async function syncFolder (path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** RESOURCE_EXHAUSTED naming `what` when that is why a write failed; all else as it came. */
export function asWriteFailure (what: string, cause: unknown): unknown {
  const code = systemCode(cause) ?? ''
  if (!FULL.includes(code)) return cause
  return new SnapshotterError('RESOURCE_EXHAUSTED', `${what} cannot be written (${code})`, {}, { cause })
}
