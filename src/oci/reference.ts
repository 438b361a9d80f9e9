// placeholder replaced by the reference parser
import type { CID } from 'multiformats/cid'
import type { Digest } from '../verify/digest.ts'

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
