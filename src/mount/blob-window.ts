// The part of a verified stream that is still needed, addressed by the blob's own offsets.
import type { VerifiedBytes } from '../verify/verified-bytes.ts'

export class BlobWindow {
  #parts: VerifiedBytes[] = []
  #start: number
  end: number

  constructor (start: number) {
    this.#start = start
    this.end = start
  }

  push (bytes: VerifiedBytes): void {
    this.#parts.push(bytes)
    this.end += bytes.byteLength
  }

  slice (offset: number, length: number): Uint8Array {
    const pieces: Uint8Array[] = []
    let at = this.#start
    for (const part of this.#parts) {
      const from = Math.max(offset, at) - at
      const to = Math.min(offset + length, at + part.byteLength) - at
      if (to > from) pieces.push(part.subarray(from, to))
      at += part.byteLength
    }
    return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces)
  }

  dropBefore (offset: number): void {
    for (let part = this.#parts[0]; part !== undefined && this.#start + part.byteLength <= offset; part = this.#parts[0]) {
      this.#start += part.byteLength
      this.#parts.shift()
    }
  }
}
