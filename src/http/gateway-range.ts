// `entity-bytes=from:to` of the trustless gateway spec: inclusive positions, negatives count from the end, `*` is the end.
import { problem } from './gateway-problem.ts'

export interface EntityBytes {
  readonly from: number
  /** null for `*`. */
  readonly to: number | null
}

/** Bytes [from, to) of an entity. */
export interface ByteSpan {
  readonly from: number
  readonly to: number
}

const SHAPE = /^(-?\d{1,15}):(\*|-?\d{1,15})$/

/** @throws 400 for another shape, or when both ends count from the same side and stand the wrong way round. */
export function parseEntityBytes (text: string): EntityBytes {
  const [, fromText = '', toText = ''] = SHAPE.exec(text) ?? []
  if (fromText === '') throw problem(400, `entity-bytes=${JSON.stringify(text.slice(0, 64))}: not from:to in bytes`)
  const from = Number(fromText)
  const to = toText === '*' ? null : Number(toText)
  const backwards = to !== null && isFromEnd(fromText) === isFromEnd(toText) && to < from
  if (backwards) throw problem(400, `entity-bytes=${text}: the range ends before it begins`)
  // "-0" counts from the end: it is the position after the last byte.
  return { from: isFromEnd(fromText) && from === 0 ? -0 : from, to: to !== null && isFromEnd(toText) && to === 0 ? -0 : to }
}

function isFromEnd (text: string): boolean {
  return text.startsWith('-')
}

/**
 * The span within an entity of `size` bytes, or null when it is empty (then the answer is the entity's first block).
 * @throws 400 when the range lies wholly before or behind the entity.
 */
export function resolveSpan ({ from, to }: EntityBytes, size: number): ByteSpan | null {
  const first = position(from, size)
  const last = to === null ? size - 1 : position(to, size)
  if (size > 0 && (first >= size || last < 0)) throw problem(400, `entity-bytes ${String(from)}:${to ?? '*'} lies outside the entity of ${size} bytes`)
  const span = { from: Math.max(first, 0), to: Math.min(last + 1, size) }
  return span.from < span.to ? span : null
}

function position (value: number, size: number): number {
  return value < 0 || Object.is(value, -0) ? size + value : value
}

export function entityBytesText ({ from, to }: EntityBytes): string {
  return `${Object.is(from, -0) ? '-0' : from}:${to === null ? '*' : Object.is(to, -0) ? '-0' : to}`
}
