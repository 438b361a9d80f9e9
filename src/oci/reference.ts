// What a user may type to name an image (design §4), parsed. A reference names one immutable root CID, at most one digest
// and at most one preferred gateway; pointers that can move (IPNS, DNSLink) are REF_MUTABLE, all else is REF_INVALID with a
// hint. Never fetches.
import { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { REFERENCE_CHARACTERS_MAX } from '../base/limits.ts'
import { acceptCid, rawCidOf } from '../verify/cid.ts'
import { type Digest, isDigest } from '../verify/digest.ts'

/** What a user typed, parsed (design §4). */
export interface Reference {
  readonly cid: CID
  /** The manifest (or index) digest after `@`, or null. */
  readonly digest: Digest | null
  /** A gateway origin the reference itself names, e.g. `https://gw.example`, or null. */
  readonly gateway: string | null
  /** The text as typed. */
  readonly text: string
}

const CODE_LIBP2P_KEY = 0x72 // multicodec of an IPNS name
const EXPECTED = 'write ipfs://<CID>[@sha256:<manifest digest>]'

// Each pattern sees the text without its digest.
const TAG = '(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?'
const IPFS_URI = /^ipfs:\/\/([^/?#]+)\/?$/i
const GATEWAY_URL = /^https?:\/\//i
const NAME_IPFS_0 = new RegExp(`^ipfs:0/([^/:]+)${TAG}$`)
const CID_AS_TAG = /^(?:ipfs:0|localhost(?::[0-9]{1,5})?\/ipfs)\/[^/:]+:(Qm[1-9A-HJ-NP-Za-km-z]{44})$/ // a spelling that every grammar takes
const NAME_LOCALHOST = new RegExp(`^localhost(?::[0-9]{1,5})?/ipfs/([^/:]+)${TAG}$`)
const NAME_SUBDOMAIN = new RegExp(`^([^./:@]+)\\.ipfs\\.localhost(?::[0-9]{1,5})?(?:/[a-z0-9._-]+)?${TAG}/?$`)
const MUTABLE = [
  /^(?:ipns:|dnslink=|\/ipns\/|ipfs:0\/ipns\/)/i, /^https?:\/\/(?:[^/]*\/ipns\/|[^/]+\.ipns\.)/i, /^localhost(?::[0-9]+)?\/ipns\//,
    /^[^/]+\.ipns\.localhost/
]

/** @throws REF_INVALID, REF_MUTABLE, CID_UNSUPPORTED */
export function parseReference (text: string): Reference {
  if (text.length > REFERENCE_CHARACTERS_MAX) {
    refuse(`${text.slice(0, 60)}…`, `longer than ${REFERENCE_CHARACTERS_MAX} characters`, EXPECTED)
  }
  if (!/^[\x21-\x7e]+$/.test(text)) refuse(text, 'empty, or holds blanks or characters that are not ASCII', EXPECTED)
  if (MUTABLE.some((pattern) => pattern.test(text))) {
    throw new SnapshotterError('REF_MUTABLE',
      `${shown(text)} can point elsewhere tomorrow; resolve it first (ipfs resolve) and use ipfs://<CID>`)
  }
  const [name, digest] = splitDigest(text)
  const uri = IPFS_URI.exec(name)
  if (uri !== null) return { cid: readCid(uri[1] ?? '', text), digest, gateway: null, text }
  if (GATEWAY_URL.test(name)) return { ...gatewayUrl(name, text), digest, text }

  const legal = NAME_IPFS_0.exec(name) ?? NAME_LOCALHOST.exec(name) ?? NAME_SUBDOMAIN.exec(name)
  if (legal !== null) return { cid: readLowerCaseCid(legal[1] ?? '', text), digest, gateway: null, text }
  if (/^[A-Za-z0-9]+$/.test(name)) return { cid: readCid(name, text), digest, gateway: null, text }
  return refuse(text, 'no known form of reference', hintFor(name, digest))
}

/** `name@sha256:…`: a digest is whatever follows the last `@` and looks like one, so that a bad one is called bad. */
function splitDigest (text: string): [name: string, digest: Digest | null] {
  const match = /^(.*)@([a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9A-Za-z=_-]*)$/.exec(text)
  const [, name = '', digest = ''] = match ?? []
  if (match === null || !/^(?:sha|md5|blake)/.test(digest)) return [text, null]
  if (!isDigest(digest)) {
    refuse(text, `not a sha256 digest: ${JSON.stringify(digest.slice(0, 80))}`, 'a digest is sha256: and 64 lower-case hex digits')
  }
  if (name === '') refuse(text, 'a digest names no place to fetch from', ofOneBlock(digest))
  return [name, digest]
}

function gatewayUrl (name: string, text: string): Pick<Reference, 'cid' | 'gateway'> {
  const url = URL.canParse(name) ? new URL(name) : refuse(text, 'not a URL', EXPECTED)
  if (url.username !== '' || url.password !== '') {
    refuse(`${url.protocol}//…@${url.host}`, 'a reference must not carry credentials', 'put the token into the configuration (token_file)')
  }
  if (/[?#]/.test(name)) {
    refuse(text, 'a gateway URL with a query or fragment', `leave out everything from "${url.search === '' ? '#' : '?'}" on`)
  }

  const path = /^\/ipfs\/([^/]+)\/?$/.exec(url.pathname)
  if (path !== null) return { cid: readCid(path[1] ?? '', text), gateway: url.origin }
  const subdomain = /^([^.]+)\.ipfs\.(.+)$/.exec(url.host)
  if (subdomain !== null && url.pathname === '/') {
    return { cid: readLowerCaseCid(subdomain[1] ?? '', text), gateway: `${url.protocol}//${subdomain[2] ?? ''}` }
  }
  if (url.pathname.startsWith('/ipfs/')) return refuse(text, 'a path below the CID', 'use the CID of the image itself: ipfs://<CID>')
  return refuse(text, 'a URL that names no CID', 'a gateway URL is https://<gateway>/ipfs/<CID> or https://<CID>.ipfs.<gateway>/')
}

function readCid (text: string, reference: string): CID {
  let cid: CID
  try {
    cid = CID.parse(text)
  } catch (cause) {
    throw new SnapshotterError('REF_INVALID',
      `${shown(reference)}: not a CID: ${JSON.stringify(text.slice(0, 120))}; ${hintForCid(text, reference)}`, {}, { cause })
  }
  if (cid.code === CODE_LIBP2P_KEY) {
    throw new SnapshotterError('REF_MUTABLE',
      `${shown(reference)} is an IPNS key and can point elsewhere tomorrow; resolve it first and use ipfs://<CID>`)
  }
  return acceptCid(cid)
}

function hintForCid (text: string, reference: string): string {
  const tag = CID_AS_TAG.exec(reference)?.[1]
  if (tag !== undefined) return `a tag names no image; write ipfs://${tag}, or its CIDv1 (ipfs cid base32) where names are lower case`
  return text.startsWith('q') ? 'a CIDv0 loses its meaning in lower case; use the CIDv1 (ipfs cid base32)' : EXPECTED
}

/** Image names and DNS labels know no upper case: only base32 and base36 survive there. */
function readLowerCaseCid (text: string, reference: string): CID {
  const cid = readCid(text, reference)
  if (text !== text.toLowerCase() || cid.version === 0) {
    refuse(reference, 'this form needs a lower-case CIDv1', `write ipfs:0/${cid.toV1().toString()} or ipfs://${text}`)
  }
  return cid
}

function hintFor (name: string, digest: Digest | null): string {
  if (isDigest(name)) return ofOneBlock(name)
  const suffix = digest === null ? '' : `@${digest}`
  const path = /^\/ipfs\/([A-Za-z0-9]+)\/?$/.exec(name)
  if (path !== null) return `write ipfs://${path[1] ?? ''}${suffix}`
  if (/^ipfs:\/\//i.test(name)) return 'paths, queries and tags below ipfs:// are not understood: use the CID of the image itself'
  const host = /^([a-z0-9.-]+\.[a-z]+(?::[0-9]+)?\/ipfs\/[A-Za-z0-9]+)(?::[^/]*)?$/.exec(name)
  if (host !== null) return `write https://${host[1] ?? ''}${suffix}`
  return EXPECTED
}

function ofOneBlock (digest: Digest): string {
  return `if the manifest is one raw block on IPFS, write ipfs://${rawCidOf(digest).toString()}@${digest}`
}

function refuse (text: string, why: string, hint: string): never {
  throw new SnapshotterError('REF_INVALID', `${shown(text)}: ${why}; ${hint}`)
}

/** The text as one printable word, with what could be a password left out. */
function shown (text: string): string {
  return JSON.stringify(text.replace(/\/\/[^/@]*@(?!sha)/, '//…@').slice(0, 200))
}
