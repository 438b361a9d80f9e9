import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { create } from 'multiformats/hashes/digest'
import { createHash } from 'node:crypto'
import { acceptCid, digestOfRawCid, parseCid, rawCidOf } from '../../src/verify/cid.ts'
import { chainIds, digestOf, parseDigest } from '../../src/verify/digest.ts'
import { verifyBlock, verifyDigest } from '../../src/verify/verified-bytes.ts'

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest()
const rawCid = (bytes: Uint8Array): CID => CID.createV1(0x55, create(0x12, sha256(bytes)))

test('a block passes only with the bytes of its CID', () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), fc.nat(), fc.integer({ min: 0, max: 7 }), (bytes, at, bit) => {
    const cid = rawCid(bytes)
    expect(verifyBlock(cid, bytes, 'test')).toBe(bytes)
    const flipped = Uint8Array.from(bytes)
    flipped[at % bytes.length] = (flipped[at % bytes.length] ?? 0) ^ (1 << bit)
    expect(() => verifyBlock(cid, flipped, 'test')).toThrow('has other bytes')
  }))
})

test('an identity CID carries its own bytes', () => {
  const cid = CID.createV1(0x55, create(0x00, Buffer.from('hi')))

  expect(verifyBlock(cid, Buffer.from('hi'), 'test')).toEqual(Buffer.from('hi'))
  expect(() => verifyBlock(cid, Buffer.from('ho'), 'test')).toThrow('other bytes')
})

test('a block over 2 MiB is refused before it is hashed', () => {
  const bytes = new Uint8Array(2 * 1024 * 1024 + 1)

  expect(() => verifyBlock(rawCid(bytes), bytes, 'gateway x')).toThrow('from gateway x has 2097153 bytes, limit 2097152')
})

test.each([
  ['a cut sha2-256 digest', CID.createV1(0x55, create(0x12, new Uint8Array(20)))],
  ['sha1', CID.createV1(0x55, create(0x11, new Uint8Array(20)))],
  ['a long identity', CID.createV1(0x55, create(0x00, new Uint8Array(129)))],
  ['dag-cbor', CID.createV1(0x71, create(0x12, new Uint8Array(32)))]
])('%s is refused', (_, cid) => {
  expect(() => acceptCid(cid)).toThrow(expect.objectContaining({ code: 'CID_UNSUPPORTED' }))
})

test('text that is no CID says so', () => {
  expect(() => parseCid('bafynope')).toThrow('not a CID: "bafynope"')
})

test('a raw CID and a digest of one block are the same 32 bytes', () => {
  const digest = digestOf(Buffer.from('x'))

  expect(digestOfRawCid(rawCidOf(digest))).toBe(digest)
  expect(rawCidOf(digest).equals(rawCid(Buffer.from('x')))).toBe(true)
})

test('a digest mismatch names both values', () => {
  const want = digestOf(Buffer.from('a'))

  expect(() => verifyDigest(want, Buffer.from('b'), 'config')).toThrow(`config: want ${want}, got ${digestOf(Buffer.from('b'))}`)
})

test('only full lower-case sha256 digests parse', () => {
  for (const wrong of ['', 'sha256:', `sha512:${'a'.repeat(128)}`, `sha256:${'A'.repeat(64)}`, `sha256:${'a'.repeat(63)}`]) {
    expect(() => parseDigest(wrong)).toThrow('not a sha256 digest')
  }
})

test('chain IDs fold diffIDs as image-spec config.md says', () => {
  const [a, b] = [digestOf(Buffer.from('a')), digestOf(Buffer.from('b'))]

  expect(chainIds([a, b])).toEqual([a, digestOf(Buffer.from(`${a} ${b}`))])
})
