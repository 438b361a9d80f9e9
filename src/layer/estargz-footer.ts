// The last bytes of an eStargz blob: an empty gzip member whose extra field tells where the TOC starts. Two forms: 51
// bytes with an `SG` subfield, and the older 47 bytes without. Source: stargz-snapshotter docs/estargz.md, "Footer".

export const FOOTER_BYTES = 51
const LEGACY_FOOTER_BYTES = 47
const MAGIC = 'STARGZ'

export interface Footer {
  readonly tocOffset: number
  /** Bytes of the footer itself, at the end of the blob. */
  readonly size: number
}

/** `tail` ends where the blob ends. Null when it ends in neither form. */
export function parseFooter (tail: Uint8Array): Footer | null {
  return parse(tail, FOOTER_BYTES, 'SG\x16\x00') ?? parse(tail, LEGACY_FOOTER_BYTES, '')
}

/** The 51 bytes that a writer appends. */
export function footerBytes (tocOffset: number): Uint8Array {
  return Buffer.from(frame('SG\x16\x00', tocOffset.toString(16).padStart(16, '0')), 'latin1')
}

function parse (tail: Uint8Array, size: number, subfield: string): Footer | null {
  if (tail.byteLength < size) return null
  const footer = Buffer.from(tail.subarray(tail.byteLength - size)).toString('latin1')
  const at = 12 + subfield.length
  const digits = footer.slice(at, at + 16)
  if (!/^[0-9a-fA-F]{16}$/.test(digits) || maskTimes(footer) !== frame(subfield, digits)) return null
  const tocOffset = Number.parseInt(digits, 16)
  return Number.isSafeInteger(tocOffset) ? { tocOffset, size } : null
}

/** Header, extra field, one empty stored block, CRC and length of nothing. */
function frame (subfield: string, digits: string): string {
  const extra = `${subfield}${digits}${MAGIC}`
  return `\x1f\x8b\x08\x04\0\0\0\0\0\xff${String.fromCharCode(extra.length)}\0${extra}\x01\0\0\xff\xff\0\0\0\0\0\0\0\0`
}

/** Modification time, extra flags and system are the writer's business. */
function maskTimes (footer: string): string {
  return `${footer.slice(0, 4)}\0\0\0\0\0\xff${footer.slice(10)}`
}
