// The last look before a CID is printed: each layer is read back out of the CAR, block by verified block, and proven with
// the reader's own code: digest, diffID, and that an eStargz table says what its tar says.
import { openEstargz } from '../layer/estargz.ts'
import { proveLayer } from '../layer/prove.ts'
import type { Digest } from '../verify/digest.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import type { CarFile } from './car-writer.ts'
import type { AddedBlob } from './layout.ts'
import type { Report } from './report.ts'
import { readBack } from './unixfs-file.ts'

export interface LayerClaim {
  readonly blob: AddedBlob
  readonly mediaType: string
  readonly diffId: Digest
  readonly tocDigest: Digest | null
}

export interface ProveOptions {
  readonly report: Report
  /** What the layer is called in progress; default its digest. */
  readonly item?: string
  readonly signal?: AbortSignal | undefined
}

/** @throws TOC_INVALID, DIGEST_MISMATCH, DIFFID_MISMATCH, LAYER_INVALID, BLOCK_HASH_MISMATCH, LIMIT_EXCEEDED */
export async function proveInCar (car: CarFile, { blob, mediaType, diffId, tocDigest }: LayerClaim, options: ProveOptions): Promise<void> {
  const { digest, size, file } = blob
  const { report, signal, item = digest } = options
  report({ event: 'begin', item, phase: 'prove', total: size })
  const read = async (offset: number, length: number): Promise<VerifiedBytes> => await readBack(car, file, offset, length)
  const toc = tocDigest === null ? undefined : { index: await openEstargz({ read }, size, tocDigest), digest: tocDigest }
  const stream = leaves(car, blob, (bytes) => report({ event: 'advance', item, bytes }))
  await proveLayer({ stream, digest, size, diffId, mediaType, toc, signal })
}

async function * leaves (car: CarFile, { file }: AddedBlob, advance: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for (const leaf of file.leaves) {
    yield await car.read(leaf.cid, leaf.place)
    advance(leaf.place.length)
  }
}
