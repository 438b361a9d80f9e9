import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PLAIN_PASSES_MAX } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import { LayerOpener } from '../../src/cache/layer-opener.ts'
import { LayerStore } from '../../src/cache/layer-store.ts'
import { Seal } from '../../src/cache/seal.ts'
import type { PlannedLayer } from '../../src/image/plan.ts'
import type { UnixfsFile } from '../../src/ipfs/blocks.ts'
import { OCI_LAYER_TAR } from '../../src/oci/media-types.ts'
import { rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import type { VerifiedBytes } from '../../src/verify/verified-bytes.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'

let root: string
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'layer-opener-')) })
afterAll(async () => { await rm(root, { recursive: true }) })

/** Tars of nothing, each with an end mark of its own length, whose streams count how many are being read. */
class CountedBlocks extends MemoryBlocks {
  reading = 0
  most = 0

  override async openFile (cid: PlannedLayer['cid']): Promise<UnixfsFile> {
    const file = await super.openFile(cid)
    const count = async function * (this: CountedBlocks): AsyncGenerator<VerifiedBytes> {
      this.most = Math.max(this.most, ++this.reading)
      for await (const piece of file.stream(0, file.size)) {
        await new Promise((resolve) => setTimeout(resolve, 50)) // long enough for the others to begin
        yield piece
      }
      this.reading--
    }
    return { ...file, stream: () => count.call(this) }
  }
}

test('reads only so many plain layers at once, and all in the end', async () => {
  const blocks = new CountedBlocks()
  const layers = Array.from({ length: 3 * PLAIN_PASSES_MAX }, (_, at): PlannedLayer => {
    const tar = Buffer.alloc(1024 + 512 * at)
    const digest = digestOf(tar)
    blocks.put(tar)
    return { digest, diffId: digest, chainId: digest, mediaType: OCI_LAYER_TAR, size: tar.byteLength, annotations: {}, cid: rawCidOf(digest) }
  })
  const store = new LayerStore({ root, seal: await Seal.at(join(root, 'key')), log: silentLog })
  await store.open()
  const opener = new LayerOpener({ store, log: silentLog })
  const opened = await Promise.all(layers.map(async (layer) => await opener.open(layer, blocks)))

  expect(blocks.most).toBe(PLAIN_PASSES_MAX)
  expect((await readdir(join(root, 'layers'))).sort()).toEqual(opened.map(({ key }) => key).sort())
  await Promise.all(opened.map(async ({ saved }) => { await saved }))
})
