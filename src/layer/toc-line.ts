// Reads the entries of a TOC that look as usual straight from its bytes: known fields, each once, whole numbers, ASCII
// without escapes, valid digests, times in UTC, no xattrs. Of these it gives what the precise way gives (strict-json, then
// decodeTocEntry); of anything else it says nothing, and the precise way judges. That is several times cheaper.
import { NO_XATTRS } from './layer-entry.ts'
import { type Instant, parseRfc3339 } from './rfc3339.ts'
import { ENTRY_TYPES, EPOCH, type TocEntry } from './toc-entry.ts'

const COUNTS = ['size', 'mode', 'uid', 'gid', 'offset', 'innerOffset', 'devMajor', 'devMinor', 'chunkOffset', 'chunkSize']
const TEXTS = ['name', 'type', 'modtime', 'linkName', 'userName', 'groupName', 'digest', 'chunkDigest']
const FIELDS = [...COUNTS, ...TEXTS].map((name) => Buffer.from(name))
const [SIZE, MODE, UID, GID, OFFSET, INNER_OFFSET, DEV_MAJOR, DEV_MINOR, CHUNK_OFFSET, CHUNK_SIZE] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
const [NAME, TYPE, MODTIME, LINK_NAME, DIGEST, CHUNK_DIGEST] = [10, 11, 12, 13, 16, 17]
const TYPES = [...ENTRY_TYPES].map(([name, type]) => ({ name: Buffer.from(name), type }))

const QUOTE = 0x22
const COMMA = 0x2c
const DIGIT_0 = 0x30
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const DIGITS_MAX = 15 // whole numbers of so many digits are exact
const TIMES_KEPT = 1024

/** Length, first and sixth character tell the known fields apart; whether it is the field is compared afterwards. */
const slotOf = (length: number, first: number, sixth: number): number => (length * 31 + first * 7 + sixth) & 0x3ff
const SLOTS = new Int8Array(0x400).fill(-1)
for (const [field, name] of FIELDS.entries()) SLOTS[slotOf(name.length, name[0] ?? 0, name[5] ?? 0)] = field

const PREFIX = Buffer.from('sha256:')
const DIGEST_LENGTH = PREFIX.length + 64
/** Value of a lower-case hex digit; above 15 for what is none. */
const HEX = new Uint8Array(0x100).fill(0xff)
for (let value = 0; value < 16; value++) HEX[value.toString(16).charCodeAt(0)] = value

/** Of one TOC. */
export class TocLineReader {
  readonly #bytes: Buffer
  readonly #counts = new Float64Array(COUNTS.length)
  readonly #starts = new Int32Array(FIELDS.length)
  readonly #ends = new Int32Array(FIELDS.length)
  readonly #times = new Map<string, Instant>([['', EPOCH]])
  #at = 0

  constructor (json: Uint8Array) {
    this.#bytes = Buffer.from(json.buffer, json.byteOffset, json.byteLength)
  }

  /** Behind the entry that `read` gave. */
  get end (): number {
    return this.#at
  }

  /** The entry whose first byte is at `at`, or null: let the precise way look at it. */
  read (at: number): TocEntry | null {
    if (this.#bytes[at] !== OPEN_BRACE) return null
    this.#counts.fill(0)
    this.#starts.fill(0)
    this.#ends.fill(0)
    this.#at = at + 1
    for (let seen = 0; ;) {
      const field = this.#key()
      if (field < 0 || (seen & 1 << field) !== 0) return null
      seen |= 1 << field
      if (!(field < COUNTS.length ? this.#count(field) : this.#text(field))) return null
      const next = this.#skipBlanks()
      this.#at++
      if (next === CLOSE_BRACE) return this.#entry()
      if (next !== COMMA) return null
    }
  }

  /** Moves behind the colon. */
  #key (): number {
    if (this.#skipBlanks() !== QUOTE) return -1
    const bytes = this.#bytes
    const start = this.#at + 1
    const end = asciiEnd(bytes, start)
    const length = end - start
    const field = length < 3 ? -1 : SLOTS[slotOf(length, bytes[start] ?? 0, length > 5 ? bytes[start + 5] ?? 0 : 0)] ?? -1
    const name = FIELDS[field]
    if (name === undefined || !isAt(bytes, start, end, name)) return -1
    this.#at = end + 1
    if (this.#skipBlanks() !== COLON) return -1
    this.#at++
    return field
  }

  #text (field: number): boolean {
    if (this.#skipBlanks() !== QUOTE) return false
    const start = this.#at + 1
    const end = asciiEnd(this.#bytes, start)
    if (end < 0) return false
    this.#starts[field] = start
    this.#ends[field] = end
    this.#at = end + 1
    return true
  }

  /** Fractions and exponents end it early; they are no commas. */
  #count (field: number): boolean {
    const bytes = this.#bytes
    let digit = this.#skipBlanks() - DIGIT_0
    const start = this.#at
    let count = 0
    let at = start
    for (; digit >= 0 && digit <= 9; digit = (bytes[++at] ?? 0) - DIGIT_0) count = count * 10 + digit
    const length = at - start
    if (length === 0 || length > DIGITS_MAX || (length > 1 && bytes[start] === DIGIT_0)) return false
    this.#counts[field] = count
    this.#at = at
    return true
  }

  #entry (): TocEntry | null {
    const counts = this.#counts
    const path = this.#string(NAME)
    const type = this.#type()
    const time = this.#time()
    const digest = this.#digest(DIGEST)
    const chunkDigest = this.#sameText(DIGEST, CHUNK_DIGEST) ? digest : this.#digest(CHUNK_DIGEST)
    if (type === undefined || time === null || digest === undefined || chunkDigest === undefined || path.includes('..')) return null
    const isLink = type === 'symlink' || type === 'hardlink'
    return {
      path,
      type,
      mode: (counts[MODE] ?? 0) & 0o7777,
      uid: counts[UID] ?? 0,
      gid: counts[GID] ?? 0,
      mtimeSeconds: time.seconds,
      mtimeNanoseconds: time.nanoseconds,
      size: type === 'file' ? counts[SIZE] ?? 0 : 0,
      deviceMajor: counts[DEV_MAJOR] ?? 0,
      deviceMinor: counts[DEV_MINOR] ?? 0,
      linkTarget: isLink ? this.#string(LINK_NAME) : '',
      xattrs: NO_XATTRS,
      digest,
      offset: counts[OFFSET] ?? 0,
      chunkOffset: counts[CHUNK_OFFSET] ?? 0,
      chunkSize: counts[CHUNK_SIZE] ?? 0,
      chunkDigest,
      innerOffset: counts[INNER_OFFSET] ?? 0
    }
  }

  #string (field: number): string {
    const start = this.#starts[field] ?? 0
    const end = this.#ends[field] ?? 0
    return start === end ? '' : this.#bytes.toString('latin1', start, end)
  }

  #type (): TocEntry['type'] | undefined {
    const start = this.#starts[TYPE] ?? 0
    const end = this.#ends[TYPE] ?? 0
    for (const { name, type } of TYPES) if (isAt(this.#bytes, start, end, name)) return type
    return undefined
  }

  /** Most entries of a layer share few times. */
  #time (): Instant | null {
    const text = this.#string(MODTIME)
    const known = this.#times.get(text)
    if (known !== undefined) return known
    const time = parseRfc3339(text)
    if (time !== null && this.#times.size < TIMES_KEPT) this.#times.set(text, time)
    return time
  }

  #sameText (one: number, other: number): boolean {
    const start = this.#starts[one] ?? 0
    const shift = (this.#starts[other] ?? 0) - start
    const end = this.#ends[one] ?? 0
    if ((this.#ends[other] ?? 0) - end !== shift) return false
    for (let at = start; at < end; at++) if (this.#bytes[at] !== this.#bytes[at + shift]) return false
    return true
  }

  /** Null: none or an empty one. Undefined: no digest. */
  #digest (field: number): Uint8Array | null | undefined {
    const start = this.#starts[field] ?? 0
    const end = this.#ends[field] ?? 0
    if (start === end) return null
    if (end - start !== DIGEST_LENGTH || !isAt(this.#bytes, start, start + PREFIX.length, PREFIX)) return undefined
    const digest = new Uint8Array(32)
    let at = start + PREFIX.length
    for (let i = 0; i < 32; i++) {
      const high = HEX[this.#bytes[at++] ?? 0] ?? 0xff
      const low = HEX[this.#bytes[at++] ?? 0] ?? 0xff
      if (high > 15 || low > 15) return undefined
      digest[i] = high << 4 | low
    }
    return digest
  }

  #skipBlanks (): number {
    const bytes = this.#bytes
    let at = this.#at
    let code = bytes[at]
    while (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) code = bytes[++at]
    this.#at = at
    return code ?? -1
  }
}

/** Where the string that starts at `start` has its closing quote, or -1 when it is not plain ASCII. */
function asciiEnd (bytes: Uint8Array, start: number): number {
  for (let at = start; at < bytes.length; at++) {
    const code = bytes[at] ?? 0
    if (code === QUOTE) return at
    if (code < 0x20 || code > 0x7e || code === BACKSLASH) return -1
  }
  return -1
}

function isAt (bytes: Uint8Array, start: number, end: number, expected: Uint8Array): boolean {
  if (end - start !== expected.length) return false
  for (let i = 0; i < expected.length; i++) if (bytes[start + i] !== expected[i]) return false
  return true
}
