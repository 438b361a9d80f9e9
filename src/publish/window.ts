// Many small reads in rising order through one buffer, so that a tar's headers do not cost a system call each.
import { PUBLISH_READ_BYTES } from '../base/limits.ts'
import type { ByteSource } from './byte-source.ts'

/** The same source; reads that fit its window are copied from there. Not for concurrent use. */
export function windowed (source: ByteSource): ByteSource {
  let window: Buffer = Buffer.alloc(0)
  let start = 0
  return {
    ...source,
    read: async (offset, length) => {
      if (length > PUBLISH_READ_BYTES / 4) return await source.read(offset, length)
      if (offset < start || offset + length > start + window.byteLength) {
        window = await source.read(offset, Math.max(length, Math.min(PUBLISH_READ_BYTES, source.size - offset)))
        start = offset
      }
      return Buffer.from(window.subarray(offset - start, offset - start + length))
    }
  }
}
