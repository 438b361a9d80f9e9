// GNU tar's sparse files in all their forms: the old header type S, and PAX 0.0, 0.1 and 1.0. Each says which pieces of
// the file the archive holds; the rest is zeros. Pieces must be in order, within the file, and add up to the payload.
// Source: GNU tar manual, "Storing Sparse Files".
import { SnapshotterError } from '../base/errors.ts'
import { PAX_BYTES_MAX } from '../base/limits.ts'
import type { ByteReader } from './byte-reader.ts'
import { binary } from './layer-entry.ts'
import { decimal, type PaxRecords } from './pax.ts'
import { number, TAR_BLOCK } from './tar-header.ts'

export interface Segment {
  readonly offset: number
  readonly length: number
}

export interface SparseFile {
  readonly segments: readonly Segment[]
  /** Bytes of the file, holes included. */
  readonly size: number
}

/** Type S: four pieces in the header, 21 in each extension block. The reader stands behind the header. */
export async function readOldSparse (header: Uint8Array, reader: ByteReader, where: string): Promise<SparseFile> {
  const segments: Segment[] = []
  const size = number(header, 483, 12, where)
  let more = addPieces(segments, header, 386, 4, where)
  let extended = header[482] !== 0
  for (let blocks = 0; extended; blocks++) {
    const block = await reader.take(TAR_BLOCK)
    if (block === null || blocks * TAR_BLOCK > PAX_BYTES_MAX) throw invalid(where, 'its map is cut or too long')
    if (more) more = addPieces(segments, block, 0, 21, where)
    extended = block[504] !== 0
  }
  return { segments, size }
}

function addPieces (segments: Segment[], block: Uint8Array, at: number, count: number, where: string): boolean {
  for (let i = 0; i < count; i++) {
    const offset = number(block, at + i * 24, 12, where)
    const length = number(block, at + i * 24 + 12, 12, where)
    if (offset === 0 && length === 0) return false
    segments.push({ offset, length })
  }
  return true
}

/**
 * The sparse file that the PAX records describe, or null when they describe none. Format 1.0 keeps its map at the start
 * of the payload: the reader moves behind it.
 */
export async function readPaxSparse (pax: PaxRecords, reader: ByteReader, payload: number, where: string): Promise<SparseFile | null> {
  const { values } = pax
  const major = values.get('GNU.sparse.major')
  const version = major === undefined ? undefined : `${major}.${values.get('GNU.sparse.minor') ?? ''}`
  const sizeText = values.get('GNU.sparse.size') ?? values.get('GNU.sparse.realsize')
  const hasMap = values.has('GNU.sparse.map') || pax.sparseNumbers.length > 0
  const isOld = version === '0.0' || version === '0.1' || (version === undefined && hasMap)
  if (version !== '1.0' && !isOld) return null

  const size = decimal(sizeText ?? '')
  if (size === null) throw invalid(where, 'its size is missing')
  const numbers = version === '1.0' ? await mapInPayload(reader, payload, where) : mapInRecords(pax)
  return { segments: pair(numbers, where), size }
}

function mapInRecords (pax: PaxRecords): string[] {
  const map = pax.values.get('GNU.sparse.map')
  if (map === undefined) return [...pax.sparseNumbers]
  return map === '' ? [] : map.split(',')
}

async function mapInPayload (reader: ByteReader, payload: number, where: string): Promise<string[]> {
  const parts: string[] = []
  let count: number | null = null
  for (let read = TAR_BLOCK, newlines = 0; ; read += TAR_BLOCK) {
    const block = read > payload || read > PAX_BYTES_MAX ? null : await reader.take(TAR_BLOCK)
    if (block === null) throw invalid(where, 'its map is cut or too long')
    for (const byte of block) if (byte === 0x0a) newlines++
    parts.push(binary(block))
    count ??= newlines === 0 ? null : decimal(/^([0-9]+)\n/.exec(parts.join(''))?.[1] ?? '') ?? Number.NaN
    if (Number.isNaN(count)) throw invalid(where, 'its map starts with no count')
    if (count !== null && newlines > 2 * count) return parts.join('').split('\n').slice(1, 1 + 2 * count)
  }
}

function pair (numbers: readonly string[], where: string): Segment[] {
  const segments: Segment[] = []
  if (numbers.length % 2 !== 0) throw invalid(where, 'its map is odd')
  for (let i = 0; i < numbers.length; i += 2) {
    const offset = decimal(numbers[i] ?? '')
    const length = decimal(numbers[i + 1] ?? '')
    if (offset === null || length === null) throw invalid(where, 'its map holds a malformed number')
    segments.push({ offset, length })
  }
  return segments
}

/** @throws LAYER_INVALID unless the pieces are in order, inside the file, and as long together as the payload. */
export function checkSparse (file: SparseFile, payload: number, where: string): void {
  let end = 0
  let total = 0
  for (const { offset, length } of file.segments) {
    if (length < 0 || offset < end || offset + length > file.size) throw invalid(where, 'its map has pieces out of order or out of range')
    end = offset + length
    total += length
  }
  if (total !== payload) throw invalid(where, `its map counts ${total} bytes, the archive holds ${payload}`)
}

function invalid (where: string, why: string): SnapshotterError {
  return new SnapshotterError('LAYER_INVALID', `${where}: sparse file: ${why}`)
}
