// A decoded TOC becomes a LayerIndex. Every claim is held against the blob: chunks stand inside it, in order, without
// overlap, in members of a size that can travel; every file is covered from its first byte to its last, by chunks that
// carry a digest. Anything else is TOC_INVALID.
import { SnapshotterError } from '../base/errors.ts'
import { CHUNK_BYTES_MAX, DATA_DEVICE_BYTES_MAX, MEMBER_BYTES_MAX, MEMBER_INNER_BYTES_MAX, TOC_BYTES_MAX } from '../base/limits.ts'
import { isJsonObject, type JsonValue, parseStrictJson } from '../oci/strict-json.ts'
import type { Digest } from '../verify/digest.ts'
import { freeze } from './freeze.ts'
import { type LayerEntry, show } from './layer-entry.ts'
import type { Chunk, LayerIndex } from './layer-index.ts'
import { LayerTree } from './layer-tree.ts'
import { decodeTocEntry, type TocEntry } from './toc-entry.ts'
import { TocLineReader } from './toc-line.ts'
import { TAR_BLOCK } from './tar-header.ts'
import type { TreeNode } from './tree-node.ts'

export const TOC_NAME = 'stargz.index.json'
export const PREFETCH_LANDMARK = '.prefetch.landmark'
export const NO_PREFETCH_LANDMARK = '.no.prefetch.landmark'

/** Names at the top of the tar that belong to the format and not to the layer. */
export const ESTARGZ_OWN_NAMES: ReadonlySet<string> = new Set([TOC_NAME, PREFETCH_LANDMARK, NO_PREFETCH_LANDMARK])

/** `json` matched its digest already; `tocOffset` is where the TOC's member starts, behind all others. */
export function indexToc (json: Uint8Array, tocOffset: number, tocDigest: Digest): LayerIndex {
  const what = `TOC ${tocDigest}`
  const builder = new TocIndexBuilder(tocOffset, what)
  const each = (entry: JsonValue, position: number): void => { builder.add(decodeTocEntry(entry, what, position)) }
  const lines = new TocLineReader(json)
  const usual = (at: number): number => {
    const entry = lines.read(at)
    if (entry === null) return -1
    builder.add(entry)
    return lines.end
  }
  checkDocument(parseStrictJson(json, { what, code: 'TOC_INVALID', bytesMax: TOC_BYTES_MAX, list: { key: 'entries', each, usual } }), what)
  return builder.finish()
}

/** The entries went out of the list already. */
function checkDocument (document: JsonValue, what: string): void {
  if (!isJsonObject(document)) throw new SnapshotterError('TOC_INVALID', `${what} is no JSON object`)
  const { version, entries } = document
  const odd = Object.keys(document).find((key) => key !== 'version' && key !== 'entries' && /^(version|entries)$/i.test(key))
  if (version !== 1 || odd !== undefined) throw new SnapshotterError('TOC_INVALID', `${what} has an unknown version`)
  // null is Go's spelling of no entries.
  if (entries !== null && !Array.isArray(entries)) throw new SnapshotterError('TOC_INVALID', `${what} has no list of entries`)
}

/** A chunk whose member's end is not known yet. */
type OpenChunk = Omit<Chunk, 'length'> & { length: number }

class TocIndexBuilder {
  readonly #tocOffset: number
  readonly #what: string
  readonly #tree: LayerTree
  /** Chunks of the member that is being read: their length is known when the next member starts. */
  #member: OpenChunk[] = []
  #memberOffset = 0
  #innerEnd = TAR_BLOCK // the blob's first member starts with a header
  #file: { entry: TocEntry, node: TreeNode | null, chunks: Chunk[], covered: number } | null = null
  #landmark: { offset: number, inner: boolean } | null = null
  #prefetchBytes = 0

  constructor (tocOffset: number, what: string) {
    this.#tocOffset = tocOffset
    this.#what = what
    this.#tree = new LayerTree({ origin: { what, code: 'TOC_INVALID' }, skip: ESTARGZ_OWN_NAMES })
  }

  add (entry: TocEntry): void {
    if (!isNode(entry)) {
      this.#addChunk(entry)
      return
    }
    this.#closeFile()
    if (entry.offset !== 0 && entry.size === 0) this.#enterMember(entry)
    const node = this.#tree.apply(entry)
    if (entry.type !== 'file') return
    if (entry.size > DATA_DEVICE_BYTES_MAX) throw this.#limit(entry, 'size', entry.size, DATA_DEVICE_BYTES_MAX)
    this.#file = { entry, node, chunks: [], covered: 0 }
    if (entry.size > 0) this.#addChunk(entry)
    if (!entry.path.endsWith(PREFETCH_LANDMARK) || !sameName(entry.path, PREFETCH_LANDMARK)) return
    this.#landmark = { offset: entry.offset, inner: entry.innerOffset > 0 }
  }

  finish (): LayerIndex {
    this.#closeFile()
    this.#closeMember(this.#tocOffset)
    return freeze(this.#tree.root, 'estargz', this.#prefetchBytes, this.#what).index
  }

  #addChunk (entry: TocEntry): void {
    const file = this.#file
    if (file === null || !sameName(entry.path, file.entry.path)) throw this.#invalid(entry, 'is a chunk of no file before it')
    const size = entry.chunkSize === 0 ? file.entry.size - entry.chunkOffset : entry.chunkSize
    if (entry.chunkOffset !== file.covered || size <= 0 || entry.chunkOffset + size > file.entry.size) {
      throw this.#invalid(entry, `has a chunk of ${size} bytes at ${entry.chunkOffset}; ${file.covered} of ${file.entry.size} are covered`)
    }
    if (size > CHUNK_BYTES_MAX) throw this.#limit(entry, 'chunk', size, CHUNK_BYTES_MAX)
    const digest = entry.chunkDigest
    if (digest === null) throw this.#invalid(entry, 'has a chunk without chunkDigest')
    if (size === file.entry.size && file.entry.digest !== null && !isSame(file.entry.digest, digest)) {
      throw this.#invalid(entry, 'has one chunk, but digest and chunkDigest differ')
    }
    this.#enterMember(entry)
    if (entry.innerOffset < this.#innerEnd) throw this.#invalid(entry, `overlaps the chunk before it in the member at ${entry.offset}`)
    this.#innerEnd = entry.innerOffset + size
    if (this.#innerEnd > MEMBER_INNER_BYTES_MAX) throw this.#limit(entry, 'place in its member', this.#innerEnd, MEMBER_INNER_BYTES_MAX)
    const { chunkOffset, offset, innerOffset } = entry
    const chunk: OpenChunk = { fileOffset: chunkOffset, size, digest, offset, length: 0, innerOffset }
    this.#member.push(chunk)
    file.chunks.push(chunk)
    file.covered += size
  }

  /** Members come in the order of the blob, and each one's first entry says where it starts. */
  #enterMember (entry: TocEntry): void {
    const { offset } = entry
    if (offset === this.#memberOffset) return
    if (offset <= this.#memberOffset || offset >= this.#tocOffset) {
      throw this.#invalid(entry, `is at ${offset}; the member before starts at ${this.#memberOffset}, the TOC at ${this.#tocOffset}`)
    }
    this.#closeMember(offset)
    this.#memberOffset = offset
    this.#innerEnd = 0
  }

  #closeMember (end: number): void {
    const length = end - this.#memberOffset
    if (this.#member.length > 0 && length > MEMBER_BYTES_MAX) {
      throw new SnapshotterError('LIMIT_EXCEEDED',
        `${this.#what}: member of ${length} bytes at ${this.#memberOffset}, limit ${MEMBER_BYTES_MAX}`)
    }
    for (const chunk of this.#member) chunk.length = length
    this.#member = []
    if (this.#landmark === null) return
    // Files before the landmark that share its member end with the member.
    this.#prefetchBytes = this.#landmark.inner ? end : this.#landmark.offset
    this.#landmark = null
  }

  #closeFile (): void {
    const file = this.#file
    if (file === null) return
    if (file.covered !== file.entry.size) throw this.#invalid(file.entry, `has ${file.entry.size} bytes, chunks cover ${file.covered}`)
    if (file.node !== null && file.chunks.length > 0) file.node.chunks = file.chunks
    this.#file = null
  }

  #invalid (entry: TocEntry, why: string): SnapshotterError {
    return new SnapshotterError('TOC_INVALID', `${this.#what}: ${show(entry.path)} ${why}`)
  }

  #limit (entry: TocEntry, which: string, value: number, max: number): SnapshotterError {
    return new SnapshotterError('LIMIT_EXCEEDED', `${this.#what}: ${show(entry.path)}: ${which} of ${value} bytes, limit ${max}`)
  }
}

function isNode (entry: TocEntry): entry is TocEntry & LayerEntry {
  return entry.type !== 'chunk'
}

function isSame (a: Uint8Array, b: Uint8Array): boolean {
  return a === b || Buffer.compare(a, b) === 0
}

function sameName (a: string, b: string): boolean {
  return a === b || cleanName(a) === cleanName(b)
}

function cleanName (name: string): string {
  return name.split('/').filter((component) => component !== '' && component !== '.').join('/')
}
