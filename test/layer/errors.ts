// The line of the error that something throws, for comparing code and text at once.
import { asSnapshotterError } from '../../src/base/errors.ts'

export function codeOf (act: () => unknown): string {
  try {
    act()
  } catch (error) {
    return asSnapshotterError(error).line
  }
  return 'no error'
}

export async function lineOf (promise: Promise<unknown>): Promise<string> {
  return await promise.then(() => 'no error', (error: unknown) => asSnapshotterError(error).line)
}
