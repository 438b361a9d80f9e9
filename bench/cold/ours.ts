// Ours: the image published as a CAR, a gateway that serves it, the daemon with a fresh state folder, a private containerd.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startContainerd } from '../demo/containerd.ts'
import { COMMAND, startService } from '../demo/product.ts'
import { run } from '../demo/run.ts'
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
      const gateway = await startService(['gateway', '--car', car, '--listen', '127.0.0.1:0'], join(context.scratch, `gateway-${image.recipe.name}-${name}`),
        async (stdout) => /http:\/\//.test(stdout))
      cleanup.add('stop the gateway', async () => { await gateway.stop() })
      const url = /http:\/\/[^\s"]+/.exec(await gateway.stdout())?.[0] ?? ''
      return { url, files: [car], imageBytes: image.imageBytes, reference }
    },
    start
  }
}

async function start ({ image, source, url, folder, cleanup, context }: RunPlace): Promise<Ready> {
  const config = join(folder, 'config.toml')
  const state = join(folder, 'state')
  const { signal } = context
  await writeFile(config, [
    `root = "${join(folder, 'root')}"`, `state = "${state}"`,
    '[containerd]', `address = "${join(folder, 'containerd', 'containerd.sock')}"`,
    '[[source]]', 'type = "gateway"', `url = "${url}"`, ''
  ].join('\n'))
  // Goes first on the way up and last on the way down: also what a killed daemon left is taken away.
  cleanup.add('unmount', async () => { await run(COMMAND, ['serve', '--stop', '--config', config], { mayFail: true, timeoutMs: 60_000 }) })
  const daemon = await startService(['serve', '--config', config], join(folder, 'serve'),
    async () => (await run(COMMAND, ['status', '--config', config], { mayFail: true })).code === 0)
  cleanup.add('stop the daemon', async () => { await daemon.stop() })
  const containerd = await startContainerd(join(folder, 'containerd'), join(state, 'snapshotter.sock'))
  cleanup.add('stop containerd', async () => { await containerd.stop() })
  let name = ''
  return {
    logs: ['serve.log', 'containerd/containerd.log'],
    pull: async () => {
      const { stdout } = await run(COMMAND, ['pull', source.reference, '--config', config, '--json'], { timeoutMs: 600_000, signal })
      name = (JSON.parse(stdout) as { name: string }).name
    },
    run: async (id, onStdout) => {
      await containerd.ctr(['run', '--rm', '--snapshotter', 'ipfs', name, id, ...image.recipe.program], { onStdout, signal })
    }
  }
}
