// A pass over a gzipped tar of which another process does the heavy part: it inflates and hashes, and takes file contents to where
// they belong, so that only headers and small files come here. See docs/PROTOCOL.md, *Unpacking*; mount/native-unpacking.ts is one.
import type { Digest } from '../verify/digest.ts'

export interface Taken {
  /** Bytes of the tar, without the prefix; fewer than asked for at its end, or where the gzip data is wrong. */
  readonly bytes: number
  /** 32 bytes for each chunk of CHUNK_BYTES_PLAIN, the last one as long as it is; the first one begins with the prefix. */
  readonly digests: Uint8Array
}

export interface UnpackOutcome {
  readonly blob: Digest
  readonly blobBytes: number
  readonly tar: Digest
  readonly tarBytes: number
  /** What is wrong with the gzip data, or ''. */
  readonly problem: string
}

/** One call at a time. All throw what the blob throws, and INTERNAL when the process died. */
export interface Unpacking {
  /** The next bytes of the tar; fewer only at its end, or where the gzip data is wrong. At most UNPACK_READ_BYTES. */
  readonly read: (length: number) => Promise<Uint8Array>
  /**
   * Hashes `prefix`, which was read before (at most a chunk), and the next `length` bytes, and writes them to the data file from `at`
   * on; null: nowhere. @throws a system error when the disk does not take them
   */
  readonly take: (prefix: Uint8Array, length: number, at: number | null) => Promise<Taken>
  /** After the rest of the blob, which is hashed alone. The last call. */
  readonly end: () => Promise<UnpackOutcome>
  /** Needed in any case; ends the process. */
  readonly close: () => void
}

/** `blob`: gzip; `data`: descriptor of the data file. */
export type Unpacker = (blob: AsyncIterable<Uint8Array>, data: number) => Unpacking
