// What a client of the OCI distribution API asks for, read from method, path and Range: nothing is decoded but `%3A`, so
// that no spelling of a path can mean two things. Spec: opencontainers/distribution-spec, "Endpoints".
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { parseReference } from '../oci/reference.ts'
import { type Digest, isDigest } from '../verify/digest.ts'

export type RegistryRequest =
  | { readonly kind: 'ping' }
  | { readonly kind: 'manifest' | 'blob' | 'referrers' | 'tags', readonly cid: CID, /** Null for a tag. */ readonly digest: Digest | null }

const SHAPE = /^\/v2\/(?:ipfs\/)?((?:ipns\/)?[^/]+)\/(manifests|blobs|referrers|tags)\/([^/]+)$/
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/

/** `path` without its query. @throws REF_INVALID, REF_MUTABLE, CID_UNSUPPORTED; NOT_FOUND for what is no endpoint. */
export function readRegistryPath (path: string): RegistryRequest {
  if (path === '/v2/' || path === '/v2') return { kind: 'ping' }
  const [, name = '', endpoint = '', last = ''] = SHAPE.exec(path.replaceAll(/%3a/gi, ':')) ?? []
  if (name === '') throw new SnapshotterError('NOT_FOUND', `${JSON.stringify(path.slice(0, 200))} is no endpoint; images are /v2/ipfs/<CID>/…`)
  // With its tag, so that a CID in the wrong place is called that.
  const { cid } = parseReference(`ipfs:0/${name}${endpoint === 'manifests' && TAG.test(last) ? `:${last}` : ''}`)
  if (endpoint === 'tags') {
    if (last !== 'list') throw new SnapshotterError('NOT_FOUND', `${JSON.stringify(path.slice(0, 200))} is no endpoint`)
    return { kind: 'tags', cid, digest: null }
  }
  if (isDigest(last)) return { kind: endpoint === 'manifests' ? 'manifest' : endpoint === 'blobs' ? 'blob' : 'referrers', cid, digest: last }
  if (endpoint === 'manifests' && TAG.test(last)) return { kind: 'manifest', cid, digest: null }
  throw new SnapshotterError('REF_INVALID', `${JSON.stringify(last.slice(0, 100))} is no sha256 digest`)
}

/** Bytes [from, to) of `size`; 'whole' without a range that we know, null when it lies outside (RFC 9110 §14). */
export function readRange (header: string | undefined, size: number): { readonly from: number, readonly to: number } | 'whole' | null {
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? []
  if (first === '' && last === '') return 'whole'
  if (first === '') return Number(last) === 0 ? null : { from: Math.max(size - Number(last), 0), to: size }
  const from = Number(first)
  const to = last === '' ? size : Math.min(Number(last) + 1, size)
  if (last !== '' && Number(last) < from) return 'whole' // not a valid range: ignored
  return from < size ? { from, to } : null
}
