// Hashes a blob as a whole and in pieces of `CONTENT_PIECE_BYTES`, as its bytes come along.
import { createHash, type Hash } from 'node:crypto'
import { CONTENT_PIECE_BYTES } from '../base/limits.ts'
import { type Digest, digestFromBytes } from '../verify/digest.ts'

export class PieceHasher {
  readonly #whole: Hash = createHash('sha256')
  readonly #pieces: Uint8Array[] = []
  #piece: Hash = createHash('sha256')
  #inPiece = 0
  bytes = 0

  update (data: Uint8Array): void {
    this.#whole.update(data)
    this.bytes += data.length
    for (let at = 0; at < data.length;) {
      const part = data.subarray(at, at + CONTENT_PIECE_BYTES - this.#inPiece)
      this.#piece.update(part)
      this.#inPiece += part.length
      at += part.length
      if (this.#inPiece === CONTENT_PIECE_BYTES) this.#endPiece()
    }
  }

  /** Of all bytes so far. */
  digest (): Digest {
    return digestFromBytes(this.#whole.copy().digest())
  }

  /** 32 bytes for each piece, the last one perhaps short; nothing can be added then. */
  table (): Uint8Array {
    if (this.#inPiece > 0) this.#endPiece()
    return Buffer.concat(this.#pieces)
  }

  #endPiece (): void {
    this.#pieces.push(this.#piece.digest())
    this.#piece = createHash('sha256')
    this.#inPiece = 0
  }
}
