// Changes to an input, most of them small: bits, bytes, numbers in every width and in digits, tokens of the format, pieces moved,
// repeated or taken from another input.
import type { Random } from './random.ts'

const EDGES = [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
const NUMBERS = ['0', '-1', '1', '255', '256', '65536', '2147483648', '4294967296', '9007199254740991', '9007199254740993',
  '18446744073709551616', '1e400', '1.5', '-0', '07', '0x10']

export interface Material {
  readonly random: Random
  readonly tokens: readonly Uint8Array[]
  /** Another input to take pieces from. */
  readonly other: Buffer
  readonly bytesMax: number
}

type Mutation = (input: Buffer, material: Material) => Buffer

export function mutate (input: Buffer, material: Material): Buffer {
  const { random, bytesMax } = material
  let mutated: Buffer = Buffer.from(input)
  for (let left = 1 << random.under(4); left > 0; left--) mutated = random.of(MUTATIONS)(mutated, material)
  return mutated.subarray(0, bytesMax)
}

const MUTATIONS: readonly Mutation[] = [
  flipBit, flipBit, setByte, setByte, add, writeNumber, writeNumber, writeVarint, replaceDigits, replaceDigits, removePiece, repeatPiece, movePiece,
  insertBytes, writeToken, writeToken, insertToken, insertToken, splice, splice, cut
]

function flipBit (input: Buffer, { random }: Material): Buffer {
  const at = random.under(input.byteLength)
  if (at < input.byteLength) input[at] = (input[at] ?? 0) ^ 1 << random.under(8)
  return input
}

function setByte (input: Buffer, { random }: Material): Buffer {
  const at = random.under(input.byteLength)
  if (at < input.byteLength) input[at] = random.once(2) ? random.under(256) : random.of(EDGES) & 0xff
  return input
}

function add (input: Buffer, { random }: Material): Buffer {
  const at = random.under(input.byteLength)
  if (at < input.byteLength) input[at] = (input[at] ?? 0) + 1 + random.under(16) - 8 & 0xff
  return input
}

function writeNumber (input: Buffer, { random }: Material): Buffer {
  const width = random.of([2, 4, 8])
  const at = random.under(input.byteLength - width)
  if (at < 0 || input.byteLength <= width) return input
  const value = BigInt(random.once(2) ? random.of(EDGES) : random.once(2) ? input.byteLength + random.under(16) - 8 : random.under(0x1_0000))
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value))
  const field = bytes.subarray(0, width)
  field.copy(input, at)
  if (random.once(2)) input.subarray(at, at + width).reverse()
  return input
}

function writeVarint (input: Buffer, { random }: Material): Buffer {
  let value = random.once(2) ? random.of(EDGES) : random.under(input.byteLength + 64)
  const bytes: number[] = []
  for (; value > 0x7f; value = Math.floor(value / 0x80)) bytes.push(value % 0x80 | 0x80)
  bytes.push(value)
  const at = random.under(input.byteLength + 1)
  return join(input.subarray(0, at), Buffer.from(bytes), input.subarray(at + 1))
}

function replaceDigits (input: Buffer, { random }: Material): Buffer {
  const start = random.under(input.byteLength)
  const isDigit = (at: number): boolean => (input[at] ?? 0) >= 0x30 && (input[at] ?? 0) <= 0x39
  let from = start
  while (from < input.byteLength && !isDigit(from)) from++
  let to = from
  while (to < input.byteLength && isDigit(to)) to++
  if (from === to) return input
  const text = random.once(3) ? String(random.under(100_000)) : random.of(NUMBERS)
  return join(input.subarray(0, from), Buffer.from(text), input.subarray(to))
}

function piece (length: number, random: Random): { from: number, to: number } {
  const from = random.under(length)
  return { from, to: Math.min(length, from + 1 + random.under(1 << random.under(11))) }
}

function removePiece (input: Buffer, { random }: Material): Buffer {
  const { from, to } = piece(input.byteLength, random)
  return join(input.subarray(0, from), input.subarray(to))
}

function repeatPiece (input: Buffer, { random }: Material): Buffer {
  const { from, to } = piece(input.byteLength, random)
  const copies = Array.from({ length: 1 << random.under(7) }, () => input.subarray(from, Math.min(to, from + 512)))
  return join(input.subarray(0, to), ...copies, input.subarray(to))
}

function movePiece (input: Buffer, { random }: Material): Buffer {
  const { from, to } = piece(input.byteLength, random)
  const at = random.under(input.byteLength + 1)
  return random.once(2)
    ? join(input.subarray(0, at), input.subarray(from, to), input.subarray(at))
    : join(input.subarray(0, at), input.subarray(from, to), input.subarray(at + to - from))
}

function insertBytes (input: Buffer, { random }: Material): Buffer {
  const at = random.under(input.byteLength + 1)
  const bytes = Buffer.from(Array.from({ length: 1 + random.under(8) }, () => random.under(256)))
  return join(input.subarray(0, at), bytes, input.subarray(at))
}

function writeToken (input: Buffer, { random, tokens }: Material): Buffer {
  if (tokens.length === 0) return flipBit(input, { random, tokens, other: input, bytesMax: 0 })
  const token = random.of(tokens)
  const at = random.under(input.byteLength + 1)
  return join(input.subarray(0, at), token, input.subarray(at + token.byteLength))
}

function insertToken (input: Buffer, { random, tokens }: Material): Buffer {
  if (tokens.length === 0) return input
  const at = random.under(input.byteLength + 1)
  return join(input.subarray(0, at), random.of(tokens), input.subarray(at))
}

function splice (input: Buffer, { random, other }: Material): Buffer {
  const { from, to } = piece(other.byteLength, random)
  const at = random.under(input.byteLength + 1)
  const behind = random.once(2) ? at : at + to - from
  return join(input.subarray(0, at), random.once(4) ? other.subarray(from) : other.subarray(from, to), input.subarray(behind))
}

function cut (input: Buffer, { random }: Material): Buffer {
  return random.once(4) ? input.subarray(0, random.under(input.byteLength + 1)) : input
}

function join (...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat(parts)
}
