// Many small reads in rising order through one buffer, so that a tar's headers cost neither a system call nor an
// allocation each.
import { PUBLISH_WINDOW_BYTES } from '../base/limits.ts'
import type { ByteSource } from './byte-source.ts'

/** The same source; small reads are copied out of one window. Not for concurrent use. */
export function windowed (source: ByteSource): ByteSource {
  const window = Buffer.allocUnsafeSlow(PUBLISH_WINDOW_BYTES)
  let start = 0
  let filled = 0
  return {
    ...source,
    read: async (offset, length) => {
      if (length > PUBLISH_WINDOW_BYTES / 4) return await source.read(offset, length)
      if (offset < start || offset + length > start + filled) {
        filled = Math.max(length, Math.min(PUBLISH_WINDOW_BYTES, source.size - offset))
        start = offset
        await source.fill(window.subarray(0, filled), offset)
      }
      return Buffer.from(window.subarray(offset - start, offset - start + length))
    }
  }
}
