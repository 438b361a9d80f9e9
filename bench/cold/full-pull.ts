// The yardstick: stock containerd with overlayfs pulls the plain image from a static registry and unpacks it; its second
// run is the floor, an image that was there already.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Cleanup } from '../demo/cleanup.ts'
import { startContainerd } from '../demo/containerd.ts'
import type { StoredImage } from '../images/image-store.ts'
import { startStaticRegistry } from '../static-registry.ts'
import type { Contender, Source } from './contender.ts'

export const UNPACKED = 'unpacked'

export async function registrySource (layout: string, image: StoredImage, cleanup: Cleanup): Promise<Source> {
  const registry = await startStaticRegistry(layout)
  cleanup.add('stop the registry', async () => { await registry.close() })
  const blobs = join(layout, 'blobs', 'sha256')
  return { url: registry.url, files: readdirSync(blobs).map((name) => join(blobs, name)), imageBytes: image.imageBytes, reference: 'bench:latest' }
}

export const fullPull: Contender = {
  name: 'containerd',
  about: '`ctr image pull` (download, then unpack) and `ctr run`, overlayfs, plain gzip image from a static registry',
  lazy: false,
  again: UNPACKED,
  absent: async () => null,
  source: async (image, _context, cleanup) => await registrySource(image.layout, image, cleanup),
  start: async ({ image, source, url, folder, cleanup, context: { signal } }) => {
    const containerd = await startContainerd(join(folder, 'containerd'), join(folder, 'unused.sock'))
    cleanup.add('stop containerd', async () => { await containerd.stop() })
    const reference = `${new URL(url).host}/${source.reference}`
    return {
      logs: ['containerd/containerd.log'],
      pull: async () => { await containerd.ctr(['image', 'pull', '--plain-http', '--snapshotter', 'overlayfs', reference], { signal }) },
      run: async (id, onStdout) => {
        await containerd.ctr(['run', '--rm', '--snapshotter', 'overlayfs', reference, id, ...image.recipe.program], { onStdout, signal })
      }
    }
  }
}
