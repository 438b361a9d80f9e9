// MurmurHash3 x64 (first 64 of 128 bits, seed 0): where a name stands in a UnixFS HAMT directory. Not a security hash.

const MASK = 0xffff_ffff_ffff_ffffn
const C1 = 0x87c3_7b91_1142_53d5n
const C2 = 0x4cf5_ad43_2745_937fn

/** The 8 bytes whose leading bits choose the slots, most significant first. */
export function murmur3x64 (bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const blocks = Math.floor(bytes.byteLength / 16)
  let h1 = 0n
  let h2 = 0n
  for (let block = 0; block < blocks; block++) {
    h1 ^= mix(view.getBigUint64(block * 16, true), C1, 31n, C2)
    h1 = (((rotate(h1, 27n) + h2) & MASK) * 5n + 0x52dc_e729n) & MASK
    h2 ^= mix(view.getBigUint64(block * 16 + 8, true), C2, 33n, C1)
    h2 = (((rotate(h2, 31n) + h1) & MASK) * 5n + 0x3849_5ab5n) & MASK
  }
  const tail = new DataView(new ArrayBuffer(16))
  bytes.subarray(blocks * 16).forEach((byte, index) => tail.setUint8(index, byte))
  h2 ^= mix(tail.getBigUint64(8, true), C2, 33n, C1)
  h1 ^= mix(tail.getBigUint64(0, true), C1, 31n, C2)

  const length = BigInt(bytes.byteLength)
  h1 ^= length
  h2 ^= length
  h1 = (h1 + h2) & MASK
  h2 = (h2 + h1) & MASK
  const out = new DataView(new ArrayBuffer(8))
  out.setBigUint64(0, (finish(h1) + finish(h2)) & MASK)
  return new Uint8Array(out.buffer)
}

function mix (word: bigint, first: bigint, turn: bigint, second: bigint): bigint {
  return rotate((word * first) & MASK, turn) * second & MASK
}

function rotate (word: bigint, bits: bigint): bigint {
  return ((word << bits) | (word >> (64n - bits))) & MASK
}

function finish (word: bigint): bigint {
  word ^= word >> 33n
  word = (word * 0xff51_afd7_ed55_8ccdn) & MASK
  word ^= word >> 33n
  word = (word * 0xc4ce_b9fe_1a85_ec53n) & MASK
  return word ^ (word >> 33n)
}
