// DAG-CBOR and DAG-JSON documents, as far as a gateway needs them: maps, lists and links. Other values are scalars that
// no path enters. Strict about what would make two readers see different documents' links; bounded by the block's size.
import { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { JSON_DEPTH_MAX } from '../base/limits.ts'

export type IpldValue =
  | { readonly kind: 'map', readonly entries: ReadonlyMap<string, IpldValue> }
  | { readonly kind: 'list', readonly items: readonly IpldValue[] }
  | { readonly kind: 'link', readonly cid: CID }
  | { readonly kind: 'scalar' }

const SCALAR: IpldValue = { kind: 'scalar' }
const TAG_LINK = 42

/** @throws BLOCK_INVALID naming `what`. */
export function decodeDagCbor (bytes: Uint8Array, what: string): IpldValue {
  const reader = new CborReader(bytes, what)
  const value = reader.value(0)
  reader.end()
  return value
}

/** @throws BLOCK_INVALID naming `what`. */
export function decodeDagJson (bytes: Uint8Array, what: string): IpldValue {
  let document: unknown
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new SnapshotterError('BLOCK_INVALID', `${what} is no DAG-JSON`, {}, { cause })
  }
  return fromJson(document, what, 0)
}

/** Every link below a value, in the document's order. */
export function * linksOf (value: IpldValue): Generator<CID> {
  if (value.kind === 'link') yield value.cid
  if (value.kind === 'list') for (const item of value.items) yield * linksOf(item)
  if (value.kind === 'map') for (const item of value.entries.values()) yield * linksOf(item)
}

/** The member that a path segment names, or null: a map's key, or a list's index in plain decimal. */
export function memberOf (value: IpldValue, segment: string): IpldValue | null {
  if (value.kind === 'map') return value.entries.get(segment) ?? null
  if (value.kind === 'list' && /^(0|[1-9]\d{0,8})$/.test(segment)) return value.items[Number(segment)] ?? null
  return null
}

function fromJson (value: unknown, what: string, depth: number): IpldValue {
  if (depth > JSON_DEPTH_MAX) throw new SnapshotterError('BLOCK_INVALID', `${what} nests deeper than ${JSON_DEPTH_MAX}`)
  if (typeof value !== 'object' || value === null) return SCALAR
  if (Array.isArray(value)) return { kind: 'list', items: value.map((item) => fromJson(item, what, depth + 1)) }
  const entries = Object.entries(value)
  const [first] = entries
  if (first?.[0] !== '/' || entries.length > 1) return { kind: 'map', entries: new Map(entries.map(([key, item]) => [key, fromJson(item, what, depth + 1)])) }
  return typeof first[1] === 'string' ? { kind: 'link', cid: linkFrom(() => CID.parse(String(first[1])), what) } : SCALAR
}

function linkFrom (parse: () => CID, what: string): CID {
  try {
    return parse()
  } catch (cause) {
    throw new SnapshotterError('BLOCK_INVALID', `${what} holds a link that is no CID`, {}, { cause })
  }
}

class CborReader {
  readonly #bytes: Buffer
  readonly #what: string
  #at = 0

  constructor (bytes: Uint8Array, what: string) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#what = what
  }

  end (): void {
    if (this.#at !== this.#bytes.byteLength) throw this.#invalid('bytes behind the document')
  }

  value (depth: number): IpldValue {
    if (depth > JSON_DEPTH_MAX) throw this.#invalid(`nests deeper than ${JSON_DEPTH_MAX}`)
    const initial = this.#take(1).readUInt8()
    const major = initial >> 5
    const count = this.#argument(initial & 31)
    if (major === 2 || major === 3) this.#take(count)
    if (major === 4) return this.#list(count, depth)
    if (major === 5) return this.#map(count, depth)
    if (major === 6) return this.#link(count)
    return SCALAR // numbers, byte and text strings, booleans, null, floats
  }

  #list (count: number, depth: number): IpldValue {
    const items: IpldValue[] = []
    while (items.length < count) items.push(this.value(depth + 1))
    return { kind: 'list', items }
  }

  #map (count: number, depth: number): IpldValue {
    const entries = new Map<string, IpldValue>()
    for (let index = 0; index < count; index++) {
      const initial = this.#take(1).readUInt8()
      if (initial >> 5 !== 3) throw this.#invalid('a map key that is no text')
      const key = this.#take(this.#argument(initial & 31)).toString('utf8')
      if (entries.has(key)) throw this.#invalid('a map key twice')
      entries.set(key, this.value(depth + 1))
    }
    return { kind: 'map', entries }
  }

  /** Tag 42 around a byte string: a zero byte (multibase identity), then the CID. No other tag is DAG-CBOR. */
  #link (tag: number): IpldValue {
    const initial = this.#take(1).readUInt8()
    if (tag !== TAG_LINK || initial >> 5 !== 2) throw this.#invalid(`tag ${tag}`)
    const bytes = this.#take(this.#argument(initial & 31))
    if (bytes[0] !== 0) throw this.#invalid('a link without its zero byte')
    return { kind: 'link', cid: linkFrom(() => CID.decode(bytes.subarray(1)), this.#what) }
  }

  #argument (info: number): number {
    if (info < 24) return info
    if (info === 24) return this.#take(1).readUInt8()
    if (info === 25) return this.#take(2).readUInt16BE()
    if (info === 26) return this.#take(4).readUInt32BE()
    if (info === 27) return Number(this.#take(8).readBigUInt64BE())
    throw this.#invalid('an indefinite length')
  }

  #take (count: number): Buffer {
    const end = this.#at + count
    if (end > this.#bytes.byteLength) throw this.#invalid('ends inside a value')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }

  #invalid (why: string): SnapshotterError {
    return new SnapshotterError('BLOCK_INVALID', `${this.#what} is no DAG-CBOR: ${why} (byte ${this.#at})`)
  }
}
