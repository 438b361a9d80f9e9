// Pieces of blobs that were read in part a moment ago: verified, in memory that only we write. Go's clients read 32 KiB at a time, and each of
// those reads would read and hash a whole piece.
import { CONTENT_PIECE_BYTES, RECENT_PIECES_BYTES_MAX } from '../base/limits.ts'
import type { Digest } from '../verify/digest.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'

const PIECES_MAX = RECENT_PIECES_BYTES_MAX / CONTENT_PIECE_BYTES

export class RecentPieces {
  /** The one used last at the end. */
  #pieces: Array<{ readonly digest: Digest, readonly start: number, readonly piece: VerifiedBytes }> = []

  /** The piece that begins at `start` of the blob. */
  find (digest: Digest, start: number): VerifiedBytes | null {
    const at = this.#pieces.findLastIndex((known) => known.digest === digest && known.start === start)
    const [found] = at === -1 ? [] : this.#pieces.splice(at, 1)
    if (found === undefined) return null
    this.#pieces.push(found)
    return found.piece
  }

  keep (digest: Digest, start: number, piece: VerifiedBytes): void {
    this.#pieces = [...this.#pieces.filter((known) => known.digest !== digest || known.start !== start), { digest, start, piece }].slice(-PIECES_MAX)
  }

  /** The blob is gone. */
  forget (digest: Digest): void {
    this.#pieces = this.#pieces.filter((known) => known.digest !== digest)
  }
}
