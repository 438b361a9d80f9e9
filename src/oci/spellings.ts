// One image, spelled for each client (contracts notes §1): `ipfs://` is legal text for us and nerdctl only; ctr and CRI need
// a name of the distribution grammar, which our loopback façade answers.
import type { CID } from 'multiformats/cid'
import type { Digest } from '../verify/digest.ts'

export interface Spellings {
  readonly nerdctl: string
  readonly ctr: string
  readonly cri: string
}

/** `ipfs://<CIDv1>[@sha256:…]`: the name that pull, inspect and verify print and that goes on record. */
export function canonicalReference (cid: CID, digest: Digest | null): string {
  return `ipfs://${cid.toV1().toString()}${digest === null ? '' : `@${digest}`}`
}

/**
 * `cid` is the image's root, `digest` its manifest. nerdctl's own grammar has no digest after a CID, and without our shim it
 * reads only JSON descriptors: `nerdctlCid` names that root when there is one.
 */
export function spellings (cid: CID, digest: Digest | null, nerdctlCid: CID = cid): Spellings {
  // Both resolvers ask for an object: containerd refuses a name without tag and digest, CRI would add `latest` itself.
  const name = `ipfs:0/${cid.toV1().toString()}${digest === null ? ':latest' : `@${digest}`}`
  return { nerdctl: `ipfs://${nerdctlCid.toV1().toString()}`, ctr: name, cri: name }
}
