// xxHash, 32 bits: the kernel hashes xattr names with it for the name filter of EROFS. Names are at most 255 bytes,
// so plain arithmetic is fast enough. Source: the xxHash specification, version 0.1.1.

const PRIME1 = 0x9E3779B1
const PRIME2 = 0x85EBCA77
const PRIME3 = 0xC2B2AE3D
const PRIME4 = 0x27D4EB2F
const PRIME5 = 0x165667B1

export function xxh32 (bytes: Uint8Array, seed: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  let hash = (seed + PRIME5) >>> 0
  if (bytes.length >= 16) {
    const lanes = Uint32Array.of(seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1)
    for (; at + 16 <= bytes.length; at += 16) {
      lanes.forEach((lane, i) => { lanes[i] = round(lane, view.getUint32(at + 4 * i, true)) })
    }
    hash = lanes.reduce((sum, lane, i) => (sum + rotate(lane, ROTATIONS[i] ?? 0)) >>> 0, 0)
  }
  hash = (hash + bytes.length) >>> 0
  for (; at + 4 <= bytes.length; at += 4) {
    hash = Math.imul(rotate(hash + Math.imul(view.getUint32(at, true), PRIME3), 17), PRIME4)
  }
  for (; at < bytes.length; at++) hash = Math.imul(rotate(hash + Math.imul(view.getUint8(at), PRIME5), 11), PRIME1)
  return avalanche(hash)
}

const ROTATIONS = [1, 7, 12, 18]

function round (lane: number, word: number): number {
  return Math.imul(rotate(lane + Math.imul(word, PRIME2), 13), PRIME1)
}

function rotate (value: number, bits: number): number {
  return ((value << bits) | (value >>> (32 - bits))) >>> 0
}

function avalanche (value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 15), PRIME2)
  hash = Math.imul(hash ^ (hash >>> 13), PRIME3)
  return (hash ^ (hash >>> 16)) >>> 0
}
