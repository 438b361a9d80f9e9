// The few protobuf shapes that dag-pb and UnixFS use, read strictly: shortest varints, no groups, nothing cut.
// Knows no schema; the callers refuse fields they do not expect.
import { SnapshotterError } from '../base/errors.ts'

/** A field: a varint's number (0 to 2^53 - 1), or the bytes of a length-delimited field (a view). */
export type PbField =
  | { readonly number: number, readonly value: number, readonly bytes: null }
  | { readonly number: number, readonly value: null, readonly bytes: Uint8Array }

/** @throws BLOCK_INVALID naming `what` when the bytes are not a protobuf message of varints and byte strings. */
export function * pbFields (message: Uint8Array, what: string): Generator<PbField> {
  let at = 0
  while (at < message.byteLength) {
    const key = pbVarint(message, at, what)
    const number = Math.floor(key.value / 8)
    const wire = key.value % 8
    const next = pbVarint(message, key.end, what)
    if (number === 0 || (wire !== 0 && wire !== 2)) {
      throw new SnapshotterError('BLOCK_INVALID', `${what}: protobuf field ${number} has wire type ${wire} at byte ${at}`)
    }
    if (wire === 0) {
      yield { number, value: next.value, bytes: null }
      at = next.end
      continue
    }
    const end = next.end + next.value
    if (end > message.byteLength) {
      throw new SnapshotterError('BLOCK_INVALID', `${what}: protobuf field ${number} needs ${end} bytes of ${message.byteLength}`)
    }
    yield { number, value: null, bytes: message.subarray(next.end, end) }
    at = end
  }
}

/** Repeated numbers packed into one field. */
export function * pbPacked (bytes: Uint8Array, what: string): Generator<number> {
  let at = 0
  while (at < bytes.byteLength) {
    const next = pbVarint(bytes, at, what)
    yield next.value
    at = next.end
  }
}

function pbVarint (bytes: Uint8Array, from: number, what: string): { value: number, end: number } {
  let value = 0
  for (let index = 0; index < 8; index++) {
    const byte = bytes[from + index]
    if (byte === undefined) throw new SnapshotterError('BLOCK_INVALID', `${what}: protobuf ends inside a number at byte ${from}`)
    value += (byte & 0x7f) * 2 ** (7 * index)
    if (byte >= 0x80) continue
    if ((byte === 0 && index > 0) || value > Number.MAX_SAFE_INTEGER) break
    return { value, end: from + index + 1 }
  }
  throw new SnapshotterError('BLOCK_INVALID', `${what}: protobuf number at byte ${from} is padded or over 2^53`)
}
