// Byte arithmetic that more than one room needs.

/** Unsigned byte order, shorter prefix first: memcmp as the kernel's directories want it. */
export function compareBytes (a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}

export function alignUp (value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment
}

export function hex (bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

/** Printable text of at most `max` bytes of untrusted input, for error messages. */
export function excerpt (bytes: Uint8Array, max = 32): string {
  return JSON.stringify(Buffer.from(bytes.subarray(0, max)).toString('latin1'))
}
