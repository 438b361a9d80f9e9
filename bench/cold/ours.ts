// Ours: the image published as a CAR, a gateway that serves it, the daemon with a fresh state folder, a private containerd.
import { join } from 'node:path'
import { startGateway, startNode } from '../demo/node.ts'
import { published, type StoredImage } from '../images/image-store.ts'
import type { Contender, Ready, RunPlace } from './contender.ts'

const OFTEN_ENOUGH = ['python', 'node', 'nginx'] // whole pulls: on the others only when named

export function ours (name: string, about: string, lazy: boolean, options: (image: StoredImage) => readonly string[]): Contender {
  return {
    name,
    about,
    lazy,
    ...lazy ? {} : { images: OFTEN_ENOUGH },
    absent: async () => null,
    source: async (image, context, cleanup) => {
      const { car, reference } = await published(context.cache, image, options(image), context.say)
      const url = await startGateway([car], join(context.scratch, `gateway-${image.recipe.name}-${name}`), cleanup)
      return { url, files: [car], imageBytes: image.imageBytes, reference }
    },
    start
  }
}

async function start ({ image, source, url, folder, cleanup, context: { signal } }: RunPlace): Promise<Ready> {
  const { containerd, pull } = await startNode(folder, url, cleanup)
  let name = ''
  return {
    logs: ['serve.log', 'containerd/containerd.log'],
    pull: async () => { name = await pull(source.reference, signal) },
    run: async (id, onStdout) => {
      await containerd.ctr(['run', '--rm', '--snapshotter', 'ipfs', name, id, ...image.recipe.program], { onStdout, signal })
    }
  }
}
