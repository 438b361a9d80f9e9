import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { base36 } from 'multiformats/bases/base36'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { canonicalReference, spellings } from '../../src/oci/spellings.ts'
import { parseDigest } from '../../src/verify/digest.ts'

const V1 = 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude'
const RAW = 'bafkreih27ajrojltfvxnbaf7dizcbiwumkmm7kmdavc3izdgd57cij5n7q'
const V0 = 'QmNWUN9Hk8gMEeRUaBuznW1xv1SXGeSKqZSdesSpmiKm9L'
const V0_AS_V1 = CID.parse(V0).toV1().toString()
const BASE36 = CID.parse(V1).toString(base36)
const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`
const IPNS_KEY = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8'
const EXPECTED = 'write ipfs://<CID>[@sha256:<manifest digest>]'
const NO_PATHS = 'paths, queries and tags below ipfs:// are not understood: use the CID of the image itself'
const MOVES = 'can point elsewhere tomorrow; resolve it first (ipfs resolve) and use ipfs://<CID>'

function lineOf (text: string): string {
  try {
    parseReference(text)
  } catch (error) {
    if (isSnapshotterError(error)) return error.line
    throw error
  }
  return 'accepted'
}

describe('reads', () => {
  test.each([
    [`ipfs://${V1}`, V1, null, null],
    [`ipfs://${V1}/`, V1, null, null],
    [`IPFS://${V1}`, V1, null, null],
    [`ipfs://${V1}@${DIGEST}`, V1, DIGEST, null],
    [`ipfs://${V0}@${DIGEST}`, V0, DIGEST, null],
    [`ipfs://${BASE36}`, V1, null, null],
    [V1, V1, null, null],
    [V0, V0, null, null],
    [`${RAW}@${DIGEST}`, RAW, DIGEST, null],
    [`https://gw.example/ipfs/${V1}`, V1, null, 'https://gw.example'],
    [`https://gw.example/ipfs/${V1}/`, V1, null, 'https://gw.example'],
    [`https://gw.example/ipfs/${V1}@${DIGEST}`, V1, DIGEST, 'https://gw.example'],
    [`https://gw.example/ipfs/${V1}/@${DIGEST}`, V1, DIGEST, 'https://gw.example'],
    [`https://gw.example:8443/ipfs/${V0}`, V0, null, 'https://gw.example:8443'],
    [`http://127.0.0.1:8080/ipfs/${V1}`, V1, null, 'http://127.0.0.1:8080'],
    [`http://[::1]:8080/ipfs/${V1}`, V1, null, 'http://[::1]:8080'],
    [`https://${V1}.ipfs.dweb.link/`, V1, null, 'https://dweb.link'],
    [`https://${V1}.ipfs.dweb.link`, V1, null, 'https://dweb.link'],
    [`https://${V1}.ipfs.dweb.link@${DIGEST}`, V1, DIGEST, 'https://dweb.link'],
    [`https://${V1}.ipfs.dweb.link/@${DIGEST}`, V1, DIGEST, 'https://dweb.link'],
    [`http://${BASE36}.ipfs.localhost:8080/`, V1, null, 'http://localhost:8080'],
    [`ipfs:0/${V1}`, V1, null, null],
    [`ipfs:0/${V1}:latest`, V1, null, null],
    [`ipfs:0/${V1}:${V0}`, V1, null, null],
    [`ipfs:0/${V1}@${DIGEST}`, V1, DIGEST, null],
    [`ipfs:0/${V1}:latest@${DIGEST}`, V1, DIGEST, null],
    [`localhost:5050/ipfs/${V1}`, V1, null, null],
    [`localhost/ipfs/${V1}`, V1, null, null],
    [`localhost:5050/ipfs/${RAW}:latest@${DIGEST}`, RAW, DIGEST, null],
    [`${V1}.ipfs.localhost:5050/image:latest`, V1, null, null],
    [`${V1}.ipfs.localhost@${DIGEST}`, V1, DIGEST, null]
  ])('%s', (text, cid, digest, gateway) => {
    const reference = parseReference(text)

    expect(reference.cid.toString()).toBe(cid)
    expect(reference).toMatchObject({ digest, gateway, text })
  })
})

describe('refuses as mutable', () => {
  test.each([
    'ipns://docs.ipfs.tech', `ipns://${IPNS_KEY}`, `/ipns/${IPNS_KEY}`, 'https://gw.example/ipns/docs.ipfs.tech', 'ipns:0/docs.ipfs.tech',
    `ipfs:0/ipns/${IPNS_KEY}`, 'https://docs-ipfs-tech.ipns.dweb.link/', `localhost:5050/ipns/${IPNS_KEY}`, 'dnslink=/ipfs/x'
  ])('%s', (text) => {
    expect(lineOf(text)).toBe(`REF_MUTABLE: ${JSON.stringify(text)} ${MOVES}`)
  })

  test('an IPNS key where a CID belongs', () => {
    expect(lineOf(`ipfs://${IPNS_KEY}`)).toMatch(/^REF_MUTABLE: "ipfs:\/\/k51.* is an IPNS key/)
    expect(lineOf(IPNS_KEY)).toMatch(/^REF_MUTABLE: /)
  })
})

describe('refuses as invalid, with a hint', () => {
  test.each([
    ['', `empty, or holds blanks or characters that are not ASCII; ${EXPECTED}`],
    [` ipfs://${V1}`, `empty, or holds blanks or characters that are not ASCII; ${EXPECTED}`],
    [`ipfs://${V1}\n`, `empty, or holds blanks or characters that are not ASCII; ${EXPECTED}`],
    ['alpine', `not a CID: "alpine"; ${EXPECTED}`],
    ['docker.io/library/alpine:3', `no known form of reference; ${EXPECTED}`],
    ['ipfs://example.com', `not a CID: "example.com"; ${EXPECTED}`],
    [`ipfs://${V1.slice(0, -1)}`, `not a CID: "${V1.slice(0, -1)}"; ${EXPECTED}`],
    [`ipfs://${V1}:latest`, `not a CID: "${V1}:latest"; ${EXPECTED}`],
    ['ipfs://', `no known form of reference; ${NO_PATHS}`],
    [`ipfs://${V1}/a`, `no known form of reference; ${NO_PATHS}`],
    [`ipfs://${V1}?a`, `no known form of reference; ${NO_PATHS}`],
    [`/ipfs/${V1}`, `no known form of reference; write ipfs://${V1}`],
    [`dweb.link/ipfs/${V1}:latest`, `no known form of reference; write https://dweb.link/ipfs/${V1}`],
    [`https://gw.example/ipfs/${V1}/a/b`, 'a path below the CID; use the CID of the image itself: ipfs://<CID>'],
    [`https://gw.example/ipfs/${V1}?format=car`, 'a gateway URL with a query or fragment; leave out everything from "?" on'],
    [`https://gw.example/ipfs/${V1}#a`, 'a gateway URL with a query or fragment; leave out everything from "#" on'],
    ['https://gw.example/', 'a URL that names no CID; a gateway URL is https://<gateway>/ipfs/<CID> or https://<CID>.ipfs.<gateway>/'],
    [`https://gw.example/base/ipfs/${V1}`,
      'a URL that names no CID; a gateway URL is https://<gateway>/ipfs/<CID> or https://<CID>.ipfs.<gateway>/'],
    ['https://', `not a URL; ${EXPECTED}`],
    [`ftp://gw.example/ipfs/${V1}`, `no known form of reference; ${EXPECTED}`],
    [`ipfs:0/${V0}`, `this form needs a lower-case CIDv1; write ipfs:0/${V0_AS_V1} or ipfs://${V0}`],
    [`localhost:5050/ipfs/${V0}`, `this form needs a lower-case CIDv1; write ipfs:0/${V0_AS_V1} or ipfs://${V0}`],
    [`ipfs:0/i:${V0}`, `not a CID: "i"; a tag names no image; write ipfs://${V0}, or its CIDv1 (ipfs cid base32) where names are lower case`],
    [`localhost:5050/ipfs/i:${V0}`, `not a CID: "i"; a tag names no image; write ipfs://${V0}, or its CIDv1 (ipfs cid base32) where names are lower case`],
    [`ipfs:0/${V1}:`, `no known form of reference; ${EXPECTED}`],
    [`ipfs:0/${V1}:-x`, `no known form of reference; ${EXPECTED}`],
    [`https://${V0}.ipfs.dweb.link/`,
      `not a CID: "${V0.toLowerCase()}"; a CIDv0 loses its meaning in lower case; use the CIDv1 (ipfs cid base32)`],
    [`ipfs://${V1}@sha512:${'0'.repeat(128)}`,
      `not a sha256 digest: "sha512:${'0'.repeat(73)}"; a digest is sha256: and 64 lower-case hex digits`],
    [`ipfs://${V1}@${DIGEST.slice(0, -1)}`,
      `not a sha256 digest: "${DIGEST.slice(0, -1)}"; a digest is sha256: and 64 lower-case hex digits`],
    [`ipfs://${V1}@${DIGEST.toUpperCase().replace('SHA', 'sha')}`,
      `not a sha256 digest: "${DIGEST.toUpperCase().replace('SHA', 'sha')}"; a digest is sha256: and 64 lower-case hex digits`],
    [`ipfs://${V1}@${DIGEST}@${DIGEST}`, `not a CID: "${V1}@`]
  ])('%j', (text, reason) => {
    expect(lineOf(text)).toContain(`REF_INVALID: ${JSON.stringify(text.slice(0, 200))}: ${reason}`)
  })

  test('a digest alone, naming the CID that it may have', () => {
    const cid = CID.createV1(0x55, createMultihash(0x12, Buffer.from(DIGEST.slice(7), 'hex'))).toString()

    expect(lineOf(DIGEST)).toContain(`write ipfs://${cid}@${DIGEST}`)
    expect(lineOf(`@${DIGEST}`)).toContain(`write ipfs://${cid}@${DIGEST}`)
  })

  test('text longer than any reference', () => {
    expect(lineOf(`https://${'a'.repeat(1017)}`)).toMatch(/longer than 1024 characters/)
    expect(lineOf(`https://${'a'.repeat(1016)}`)).not.toMatch(/longer than/)
  })

  test('credentials, without repeating them', () => {
    const line = lineOf(`https://user:secret@gw.example/ipfs/${V1}`)

    expect(line).toMatch(/^REF_INVALID: .*must not carry credentials/)
    expect(line).not.toContain('secret')
    expect(lineOf(`https://user:secret@gw.example/ipns/${V1}`)).not.toContain('secret')
  })
})

describe('refuses CIDs that prove too little', () => {
  test.each([
    ['a sha2-256 digest cut to 20 bytes', 0x55, 0x12, 20,
      'hash 0x12 of 20 bytes; only full sha2-256 and identity up to 128 bytes are accepted'],
    ['sha1', 0x55, 0x11, 20, 'hash 0x11 of 20 bytes; only full sha2-256 and identity up to 128 bytes are accepted'],
    ['an identity CID of 129 bytes', 0x55, 0x00, 129,
      'hash 0x0 of 129 bytes; only full sha2-256 and identity up to 128 bytes are accepted'],
    ['dag-cbor', 0x71, 0x12, 32, 'codec 0x71; only raw and dag-pb are accepted']
  ])('%s', (_name, codec, hash, length, reason) => {
    const cid = CID.createV1(codec, createMultihash(hash, new Uint8Array(length))).toString()

    expect(lineOf(`ipfs://${cid}`)).toBe(`CID_UNSUPPORTED: ${cid}: ${reason}`)
  })

  test('but not identity CIDs of 128 bytes', () => {
    expect(lineOf(`ipfs://${CID.createV1(0x55, createMultihash(0, new Uint8Array(128))).toString()}`)).toBe('accepted')
  })
})

describe('never throws anything but its own errors', () => {
  const word = fc.constantFrom('ipfs', 'ipns', 'http', 'https', '://', ':0/', '/', '@', ':', '.', 'localhost', V1, V0, DIGEST, 'sha256:',
    '?', '#', '..', '%2f', 'é')
  const mixed = fc.array(fc.oneof(word, fc.string({ maxLength: 6 })), { maxLength: 8 }).map((parts) => parts.join(''))

  test('on any text', () => {
    fc.assert(fc.property(fc.oneof(mixed, fc.string(), fc.webUrl({ withQueryParameters: true, withFragments: true })), (text) => {
      expect(lineOf(text)).toMatch(/^(accepted|(REF_INVALID|REF_MUTABLE|CID_UNSUPPORTED): [^\n]+)$/)
    }), { numRuns: 5000 })
  })

  test('and what it accepts means the same after printing and reading again', () => {
    fc.assert(fc.property(mixed, (text) => {
      if (lineOf(text) !== 'accepted') return
      const reference = parseReference(text)
      const again = parseReference(canonicalReference(reference.cid, reference.digest))
      expect([again.cid.toV1().toString(), again.digest]).toEqual([reference.cid.toV1().toString(), reference.digest])
    }), { numRuns: 5000 })
  })
})

describe('spells an image for each client', () => {
  test('with a digest', () => {
    expect(spellings(CID.parse(V0), parseDigest(DIGEST), CID.parse(RAW))).toEqual({
      nerdctl: `ipfs://${RAW}`, ctr: `ipfs:0/${V0_AS_V1}@${DIGEST}`, cri: `ipfs:0/${V0_AS_V1}@${DIGEST}`
    })
  })

  test('without', () => {
    expect(spellings(CID.parse(V1), null)).toEqual({ nerdctl: `ipfs://${V1}`, ctr: `ipfs:0/${V1}:latest`, cri: `ipfs:0/${V1}:latest` })
  })

  test('in forms that it reads itself and that the distribution grammar allows', () => {
    // docker/distribution reference.go: domain ":" port "/" path [":" tag] ["@" digest]
    const grammar = /^[a-z0-9]+:[0-9]+\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?$/
    for (const digest of [null, parseDigest(DIGEST)]) {
      const { nerdctl, ctr, cri } = spellings(CID.parse(V1), digest)
      for (const text of [nerdctl, ctr, cri]) expect(parseReference(text).cid.toString()).toBe(V1)
      expect(ctr).toMatch(grammar)
      expect(cri).toMatch(grammar)
    }
  })
})
