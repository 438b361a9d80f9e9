// Where every block of a set of CAR files lies: 48 bytes a block, whole digests, sorted. No assumption about the
// digests is made (a stranger may choose them), so look-ups stay logarithmic and exact.
import { SnapshotterError } from '../base/errors.ts'
import { CAR_BLOCKS_MAX, CAR_FILES_MAX } from '../base/limits.ts'

/** Bytes [offset, offset + length) of the store's file number `file`. */
export interface BlockPlace {
  readonly file: number
  readonly offset: number
  readonly length: number
}

const DIGEST_BYTES = 32
const OFFSET_AT = 32 // 6 bytes
const LENGTH_AT = 38 // 4 bytes
const FILE_AT = 42 // 2 bytes
const RECORD_BYTES = 44
const PAGE_RECORDS = 8192
const KEY_SHIFT = CAR_BLOCKS_MAX // a sort key is 30 bits of digest above the record's number: exact in a double

export class CarIndexBuilder {
  readonly #pages: Buffer[] = []
  #records = 0

  /** @throws LIMIT_EXCEEDED past CAR_BLOCKS_MAX sections or CAR_FILES_MAX files. */
  add (digest: Uint8Array, place: BlockPlace): void {
    if (this.#records >= CAR_BLOCKS_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `more than ${CAR_BLOCKS_MAX} blocks in the CAR files`)
    if (place.file >= CAR_FILES_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `more than ${CAR_FILES_MAX} CAR files`)
    const at = this.#records % PAGE_RECORDS * RECORD_BYTES
    if (at === 0) this.#pages.push(Buffer.alloc(PAGE_RECORDS * RECORD_BYTES))
    const page = this.#pages.at(-1) ?? Buffer.alloc(0)
    page.set(digest, at)
    page.writeUIntLE(place.offset, at + OFFSET_AT, 6)
    page.writeUInt32LE(place.length, at + LENGTH_AT)
    page.writeUInt16LE(place.file, at + FILE_AT)
    this.#records++
  }

  build (): CarIndex {
    return new CarIndex(this.#pages, this.#records)
  }
}

export class CarIndex {
  readonly #pages: readonly Buffer[]
  /** Record numbers in the order of their digests; repeats of a digest stand together, in the order of the files. */
  readonly #order: Uint32Array
  /** Distinct digests. */
  readonly blocks: number

  constructor (pages: readonly Buffer[], records: number) {
    this.#pages = pages
    this.#order = this.#sorted(records)
    let distinct = 0
    for (let rank = 0; rank < records; rank++) if (rank === 0 || this.#compare(this.#rank(rank - 1), this.#rank(rank)) !== 0) distinct++
    this.blocks = distinct
  }

  /** Sections, repeats included: ranks run below it. */
  get sections (): number {
    return this.#order.length
  }

  /** The rank of the digest's first record, or null. Ranks never change. */
  find (digest: Uint8Array): number | null {
    let low = 0
    let high = this.#order.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (Buffer.compare(this.#digest(this.#rank(middle)), digest) < 0) low = middle + 1
      else high = middle
    }
    return low < this.#order.length && Buffer.compare(this.#digest(this.#rank(low)), digest) === 0 ? low : null
  }

  /** Up to `max` places of the digest at `rank`: a block may stand in several files. */
  places (rank: number, max: number): BlockPlace[] {
    const first = this.#rank(rank)
    const found: BlockPlace[] = []
    for (let at = rank; at < this.#order.length && found.length < max; at++) {
      const record = this.#rank(at)
      if (this.#compare(first, record) !== 0) break
      found.push(this.#place(record))
    }
    return found
  }

  #sorted (records: number): Uint32Array {
    const keys = new Float64Array(records)
    for (let record = 0; record < records; record++) keys[record] = (this.#digest(record).readUInt32BE(0) >>> 2) * KEY_SHIFT + record
    keys.sort()
    const order = Uint32Array.from(keys, (key) => key % KEY_SHIFT)
    // Records whose first 30 bits agree are still in file order: sort each such run by the whole digest.
    for (let from = 0; from < records;) {
      let to = from + 1
      while (to < records && Math.floor((keys[to] ?? 0) / KEY_SHIFT) === Math.floor((keys[from] ?? 0) / KEY_SHIFT)) to++
      if (to - from > 1) order.subarray(from, to).sort((a, b) => this.#compare(a, b) || a - b)
      from = to
    }
    return order
  }

  #rank (rank: number): number {
    return this.#order[rank] ?? 0
  }

  #compare (a: number, b: number): number {
    return Buffer.compare(this.#digest(a), this.#digest(b))
  }

  #record (record: number): Buffer {
    const page = this.#pages[Math.floor(record / PAGE_RECORDS)]
    const at = record % PAGE_RECORDS * RECORD_BYTES
    if (page === undefined) throw new SnapshotterError('INTERNAL', `CAR index has no record ${record}`)
    return page.subarray(at, at + RECORD_BYTES)
  }

  #digest (record: number): Buffer {
    return this.#record(record).subarray(0, DIGEST_BYTES)
  }

  #place (record: number): BlockPlace {
    const bytes = this.#record(record)
    return { offset: bytes.readUIntLE(OFFSET_AT, 6), length: bytes.readUInt32LE(LENGTH_AT), file: bytes.readUInt16LE(FILE_AT) }
  }
}
