// Cuts a tar into the gzip members of eStargz: a member starts at each file's content and at each further chunk of it,
// and ends where the next starts, so headers ride with the content before them. Every member is compressed on its own.
//
// Chunks are 256 KiB. A reader fetches 1 MiB UnixFS leaves of the compressed blob whatever the chunk size, so chunks
// need not be large to make requests few; but a page fault inflates and hashes one whole chunk before it is answered (1 ms
// instead of 15 ms at stargz's 4 MiB), and a restarted worker hashes it again. The price, measured on 170 MB of programs
// and libraries at level 6, is 0.8 % more bytes than 4 MiB chunks (64 KiB: 3.1 %). Files share no member, whatever
// their size: a read of one never inflates another.
import { createHash, hash } from 'node:crypto'
import { alignUp } from '../base/bytes.ts'
import { PUBLISH_HEADER_RUN_BYTES } from '../base/limits.ts'
import { TAR_BLOCK } from '../layer/tar-header.ts'
import { NO_PREFETCH_LANDMARK, PREFETCH_LANDMARK } from '../layer/toc-index.ts'
import { DigestStream } from '../verify/digest.ts'
import type { ByteSource } from './byte-source.ts'
import { LANDMARK_CONTENT, OwnerNames, type TocEntry, tocFields } from './estargz-toc.ts'
import type { PlacedEntry } from './tar-entries.ts'
import { windowed } from './window.ts'

/** What the new tar holds next: an entry of the old one, or a landmark. */
export type Item = PlacedEntry | 'landmark' | 'no-landmark'

export interface Member {
  readonly bytes: Buffer
  /** Begins at this member's first byte; null when the member starts with headers. */
  readonly chunk: TocEntry | null
  /** Lines of the table in order, the chunk's first. */
  readonly toc: readonly TocEntry[]
}

export class MemberCutter {
  /** Of the new tar, as far as members were taken. */
  readonly uncompressed = new DigestStream()
  readonly #windowed: ByteSource
  readonly #chunkBytes: number
  readonly #names = new OwnerNames()
  #parts: Buffer[] = []
  #bytes = 0
  #chunk: TocEntry | null = null
  #toc: TocEntry[] = []

  constructor (tar: ByteSource, chunkBytes: number) {
    this.#windowed = windowed(tar)
    this.#chunkBytes = chunkBytes
  }

  /** The members of all items; ends before the end mark of the tar. */
  async * members (items: AsyncIterable<Item>): AsyncGenerator<Member, void, undefined> {
    for await (const item of items) {
      if (item === 'landmark' || item === 'no-landmark') yield * this.#landmark(item)
      else yield * this.#entry(item)
    }
    yield * this.#cut()
  }

  async * #entry (entry: PlacedEntry): AsyncGenerator<Member, void, undefined> {
    this.#append(await this.#windowed.read(entry.headerOffset, entry.dataOffset - entry.headerOffset))
    if (entry.type === 'global') {
      this.#append(await this.#windowed.read(entry.dataOffset, alignUp(entry.dataSize, TAR_BLOCK)))
    } else if (entry.type === 'file' && entry.size > 0) {
      yield * this.#content(entry)
    } else {
      const digest = entry.type === 'file' ? { digest: hash('sha256', Buffer.alloc(0), 'buffer') } : {}
      this.#toc.push({ fields: tocFields(entry, this.#names), ...digest, ready: true })
    }
    if (this.#bytes >= PUBLISH_HEADER_RUN_BYTES) yield * this.#cut()
  }

  async * #content (entry: PlacedEntry): AsyncGenerator<Member, void, undefined> {
    const whole = createHash('sha256')
    const header = tocFields(entry, this.#names)
    let first: TocEntry | null = null
    for (let at = 0; at < entry.size; at += this.#chunkBytes) {
      yield * this.#cut()
      const bytes = await this.#windowed.read(entry.dataOffset + at, Math.min(this.#chunkBytes, entry.size - at))
      const size = bytes.byteLength
      const chunk = { offset: at, size, last: at + size === entry.size, digest: hash('sha256', bytes, 'buffer') }
      const line: TocEntry = { fields: at === 0 ? header : { name: header['name'], type: 'chunk' }, chunk, ready: at > 0 }
      first ??= line
      this.#begin(line, bytes)
      if (!chunk.last || at > 0) whole.update(bytes)
      if (!chunk.last) continue
      first.digest = at === 0 ? chunk.digest : whole.digest()
      first.ready = true
      this.#append(Buffer.alloc(alignUp(entry.size, TAR_BLOCK) - entry.size))
    }
  }

  async * #landmark (item: 'landmark' | 'no-landmark'): AsyncGenerator<Member, void, undefined> {
    const name = item === 'landmark' ? PREFETCH_LANDMARK : NO_PREFETCH_LANDMARK
    const digest = hash('sha256', LANDMARK_CONTENT, 'buffer')
    this.#append(plainHeader(name, LANDMARK_CONTENT.byteLength))
    yield * this.#cut()
    this.#begin({
      fields: { name, type: 'reg', size: LANDMARK_CONTENT.byteLength, modtime: '1970-01-01T00:00:00Z', mode: 0o444 },
      digest,
      chunk: { offset: 0, size: 1, last: true, digest },
      ready: true
    }, LANDMARK_CONTENT)
    this.#append(Buffer.alloc(TAR_BLOCK - LANDMARK_CONTENT.byteLength))
  }

  #begin (line: TocEntry, bytes: Buffer): void {
    this.#chunk = line
    this.#toc.push(line)
    this.#append(bytes)
  }

  #append (bytes: Buffer): void {
    this.#parts.push(bytes)
    this.#bytes += bytes.byteLength
  }

  * #cut (): Generator<Member, void, undefined> {
    if (this.#bytes === 0) return
    const [only] = this.#parts
    const bytes = this.#parts.length === 1 && only !== undefined ? only : Buffer.concat(this.#parts, this.#bytes)
    const member = { bytes, chunk: this.#chunk, toc: this.#toc }
    this.#parts = []
    this.#bytes = 0
    this.#chunk = null
    this.#toc = []
    this.uncompressed.update(bytes)
    yield member
  }
}

/** A ustar header of a read-only root file from 1970: for what the original tar does not hold. */
export function plainHeader (name: string, size: number): Buffer {
  const block = Buffer.alloc(TAR_BLOCK)
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0')
  block.write(name, 0, 'latin1')
  block.write(`${octal(0o444, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(size, 11)}\0${octal(0, 11)}\0        0`, 100, 'latin1')
  block.write('ustar\u000000', 257, 'latin1')
  block.write(`${octal(block.reduce((sum, byte) => sum + byte, 0), 6)}\0 `, 148, 'latin1')
  return block
}
