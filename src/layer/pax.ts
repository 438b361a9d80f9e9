// PAX extended headers, bytes in, bytes out: "LENGTH KEY=VALUE\n" records into a Map (never an object: keys are a
// stranger's). The last of several equal keys wins, as in POSIX and Go; GNU's repeated sparse keys are gathered in order.
import { SnapshotterError } from '../base/errors.ts'
import { binary, NO_XATTRS } from './layer-entry.ts'

const XATTR_KEY = 'SCHILY.xattr.'

export interface PaxRecords {
  /** Key and value as binary strings. */
  readonly values: ReadonlyMap<string, string>
  /** The values of GNU.sparse.offset and GNU.sparse.numbytes (sparse format 0.0) in order of appearance. */
  readonly sparseNumbers: readonly string[]
}

export const NO_PAX: PaxRecords = { values: new Map(), sparseNumbers: [] }

export interface Instant { readonly seconds: number, readonly nanoseconds: number }

const NAMES_WITHOUT_NUL = new Set(['path', 'linkpath', 'uname', 'gname'])

/** @throws LAYER_INVALID */
export function parsePax (bytes: Uint8Array, where: string): PaxRecords {
  const values = new Map<string, string>()
  const sparseNumbers: string[] = []
  for (let at = 0; at < bytes.byteLength;) {
    const space = bytes.indexOf(0x20, at)
    const length = space < 0 ? null : decimal(binary(bytes, at, Math.min(space, at + 20)))
    if (length === null || length < 5 || at + length > bytes.byteLength || bytes[at + length - 1] !== 0x0a) throw malformed(where)
    const equals = bytes.indexOf(0x3d, space)
    if (equals < 0 || equals >= at + length - 1) throw malformed(where)
    const key = binary(bytes, space + 1, equals)
    const value = binary(bytes, equals + 1, at + length - 1)
    if (key.includes('\0') || (NAMES_WITHOUT_NUL.has(key) && value.includes('\0'))) throw malformed(where)
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') sparseNumbers.push(value)
    else values.set(key, value)
    at += length
  }
  return { values, sparseNumbers }
}

/** A whole number in decimal that a double holds exactly, or null. */
export function decimal (digits: string): number | null {
  if (!/^-?[0-9]{1,19}$/.test(digits)) return null
  const value = Number(digits)
  return Number.isSafeInteger(value) ? value : null
}

/** `SECONDS[.FRACTION]`, also before 1970, where the fraction counts away from zero. Digits after the ninth are cut. */
export function paxTime (value: string, where: string): Instant {
  const match = /^([+-]?[0-9]{1,19})(?:\.([0-9]*))?$/.exec(value)
  const seconds = match === null ? Number.NaN : Number(match[1])
  if (!Number.isSafeInteger(seconds)) throw new SnapshotterError('LAYER_INVALID', `${where}: malformed PAX time`)
  const nanoseconds = Number((match?.[2] ?? '').slice(0, 9).padEnd(9, '0'))
  if (nanoseconds === 0 || match?.[1]?.startsWith('-') !== true) return { seconds: seconds + 0, nanoseconds }
  return { seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds }
}

function malformed (where: string): SnapshotterError {
  return new SnapshotterError('LAYER_INVALID', `${where}: malformed PAX header`)
}

/** `SCHILY.xattr.` records, values as bytes. */
export function xattrsOf (pax: PaxRecords): ReadonlyMap<string, Uint8Array> {
  let xattrs: Map<string, Uint8Array> | null = null
  for (const [key, value] of pax.values) {
    if (key.startsWith(XATTR_KEY)) (xattrs ??= new Map()).set(key.slice(XATTR_KEY.length), Buffer.from(value, 'latin1'))
  }
  return xattrs ?? NO_XATTRS
}

/** Go, too, takes an empty record for no record. */
export function nonEmpty (pax: PaxRecords, key: string): string | null {
  const value = pax.values.get(key)
  return value === undefined || value === '' ? null : value
}

/** @throws LAYER_INVALID for what is no decimal number */
export function paxNumber (pax: PaxRecords, key: string, where: string): number | null {
  const text = nonEmpty(pax, key)
  if (text === null) return null
  const value = decimal(text)
  if (value === null) throw new SnapshotterError('LAYER_INVALID', `${where}: malformed PAX ${key}`)
  return value
}
