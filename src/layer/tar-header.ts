// One 512-byte tar header: v7, ustar, star and GNU. Reads what Go's archive/tar reads (it is what containerd applies
// layers with) and refuses what it refuses: wrong checksums and malformed numbers. Sources: POSIX.1-2017 pax, GNU tar
// manual "Basic Tar Format", star(4).
import { SnapshotterError } from '../base/errors.ts'
import { binary } from './layer-entry.ts'

export const TAR_BLOCK = 512

export interface TarHeader {
  readonly name: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Bytes of payload as the field says, possibly of a type that has none. */
  readonly size: number
  readonly mtime: number
  /** One character; a NUL stands for itself. */
  readonly type: string
  readonly linkName: string
  readonly deviceMajor: number
  readonly deviceMinor: number
}

type Flavour = 'v7' | 'ustar' | 'star' | 'gnu'

/** @throws LAYER_INVALID; `where` names layer and byte offset. */
export function parseTarHeader (block: Uint8Array, where: string): TarHeader {
  checkSum(block, where)
  const flavour = flavourOf(block)
  const type = String.fromCharCode(block[156] ?? 0)
  const isDevice = (type === '3' || type === '4') && flavour !== 'v7'
  const prefix = prefixOf(block, flavour)
  const name = text(block, 0, 100)
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: number(block, 100, 8, where),
    uid: number(block, 108, 8, where),
    gid: number(block, 116, 8, where),
    size: number(block, 124, 12, where),
    mtime: number(block, 136, 12, where),
    type,
    linkName: text(block, 157, 100),
    deviceMajor: isDevice ? number(block, 329, 8, where) : 0,
    deviceMinor: isDevice ? number(block, 337, 8, where) : 0
  }
}

export function isZeroBlock (block: Uint8Array): boolean {
  return block.every((byte) => byte === 0)
}

/** A number field: octal text, or base-256 when the first bit is set (two's complement, so it may be negative). */
export function number (block: Uint8Array, at: number, length: number, where: string): number {
  const first = block[at] ?? 0
  const value = (first & 0x80) !== 0 ? base256(block.subarray(at, at + length)) : octal(text(block, at, length, true))
  if (value === null) throw new SnapshotterError('LAYER_INVALID', `${where}: tar header holds a malformed number at byte ${at}`)
  return value
}

function base256 (field: Uint8Array): number | null {
  const negative = ((field[0] ?? 0) & 0x40) !== 0
  let value = BigInt(negative ? -1 : 0)
  field.forEach((byte, i) => { value = value << 8n | BigInt(i === 0 ? (negative ? byte : byte & 0x7f) : byte) })
  const result = Number(value)
  return Number.isSafeInteger(result) ? result : null
}

function octal (digits: string): number | null {
  if (digits === '') return 0
  if (!/^[0-7]{1,21}$/.test(digits)) return null
  const value = Number.parseInt(digits, 8)
  return Number.isSafeInteger(value) ? value : null
}

/** Text up to the first NUL; of numbers, blanks and NULs around it are dropped first. */
function text (block: Uint8Array, at: number, length: number, trim = false): string {
  let from = at
  let to = at + length
  while (trim && from < to && isBlank(block[from])) from++
  while (trim && to > from && isBlank(block[to - 1])) to--
  const nul = block.indexOf(0, from)
  return binary(block, from, nul >= from && nul < to ? nul : to)
}

function isBlank (byte: number | undefined): boolean {
  return byte === 0 || byte === 0x20
}

function flavourOf (block: Uint8Array): Flavour {
  const magic = binary(block, 257, 265)
  if (magic === 'ustar  \0') return 'gnu'
  if (!magic.startsWith('ustar\0')) return 'v7'
  return binary(block, 508, 512) === 'tar\0' ? 'star' : 'ustar'
}

function prefixOf (block: Uint8Array, flavour: Flavour): string {
  if (flavour === 'ustar') return text(block, 345, 155)
  if (flavour === 'star') return text(block, 345, 131)
  if (flavour === 'v7') return ''
  // GNU headers have times here. Old Go writers put a prefix in their place, which is then no octal number.
  const times = [345, 357].map((at) => ((block[at] ?? 0) & 0x80) !== 0 ? 0 : octal(text(block, at, 12, true)))
  const prefix = text(block, 345, 155)
  // eslint-disable-next-line no-control-regex -- ASCII is meant
  return times.includes(null) && /^[\x01-\x7f]*$/.test(prefix) ? prefix : ''
}

function checkSum (block: Uint8Array, where: string): void {
  const given = octal(text(block, 148, 8, true))
  let unsigned = 8 * 0x20
  let signed = unsigned
  for (let i = 0; i < TAR_BLOCK; i++) {
    if (i >= 148 && i < 156) continue
    const byte = block[i] ?? 0
    unsigned += byte
    signed += byte < 128 ? byte : byte - 256
  }
  if (given !== unsigned && given !== signed) throw new SnapshotterError('LAYER_INVALID', `${where}: tar header checksum does not match`)
}
