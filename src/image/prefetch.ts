// A reference that carries a digest tells the CID of its manifest before the root has been opened: most manifests and configs
// are one raw block with the same 32 bytes. Asking early saves two round trips of four; a guess that is wrong costs nothing
// but its requests, for what it brings is only found in the block service's memory, and checked again like everything else.
import { BLOCK_BYTES_MAX } from '../base/limits.ts'
import { namedCids } from '../oci/descriptor.ts'
import { readManifest } from '../oci/manifest-document.ts'
import { rawCidOf } from '../verify/cid.ts'
import type { Digest } from '../verify/digest.ts'
import type { ResolveContext } from './context.ts'

/** Never throws; ends early when the context's signal fires. */
export async function prefetchPinned (digest: Digest | null, { blocks, signal }: ResolveContext): Promise<void> {
  if (digest === null) return
  try {
    const bytes = await blocks.get(rawCidOf(digest), { signal })
    const { config } = readManifest(bytes, null, `manifest ${digest}`)
    const cid = namedCids(config)[0] ?? (config.size <= BLOCK_BYTES_MAX ? rawCidOf(config.digest) : null)
    if (cid !== null) await blocks.get(cid, { signal })
  } catch {
    // The digest is an index's, or the blobs were imported another way: the walk from the root finds them.
  }
}
