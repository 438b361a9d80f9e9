// CRC-32C (Castagnoli, reflected 0x82F63B78) as the EROFS superblock wants it: seed all ones, no final inversion.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ 0x82F63B78 : value >>> 1
  return value
})

export function crc32cWithoutFinalInversion (bytes: Uint8Array): number {
  let crc = 0xFFFFFFFF
  for (const byte of bytes) crc = (TABLE[(crc ^ byte) & 0xFF] ?? 0) ^ (crc >>> 8)
  return crc >>> 0
}
