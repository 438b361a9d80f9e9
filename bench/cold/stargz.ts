// The peer: stargz-snapshotter at its defaults, lazily from the same static registry, its layers made by its own converter
// from the same tars, with and without the same list of files to put first.
import { existsSync, readdirSync, statSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type PrivateContainerd, startContainerd } from '../demo/containerd.ts'
import { run } from '../demo/run.ts'
import { once, type StoredImage } from '../images/image-store.ts'
import type { BenchContext } from '../part.ts'
import { startProgram } from '../service.ts'
import type { Contender, RunPlace } from './contender.ts'
import { registrySource } from './full-pull.ts'
import { buildStargz, stargzProgram } from './stargz-program.ts'

const CONVERT_MS_MAX = 600_000

export function stargz (name: string, about: string, withList: boolean): Contender {
  return {
    name,
    about,
    lazy: true,
    absent: buildStargz,
    source: async (image, context, cleanup) => {
      const layout = await converted(image, withList, context)
      const source = await registrySource(layout, image, cleanup)
      return { ...source, imageBytes: source.files.reduce((sum, file) => sum + statSync(file).size, 0) }
    },
    start: async (place) => {
      const { image, source, url, folder, context: { signal } } = place
      const containerd = await startStargz(place, [])
      const reference = `${new URL(url).host}/${source.reference}`
      return {
        logs: ['stargz.log', 'containerd/containerd.log'],
        pull: async () => {
          await run(stargzProgram(place.context), ['pull', join(folder, 'containerd', 'containerd.sock'), reference], { timeoutMs: 600_000, signal })
        },
        run: async (id, onStdout) => {
          await containerd.ctr(['run', '--rm', '--snapshotter', 'stargz', reference, id, ...image.recipe.program], { onStdout, signal })
        }
      }
    }
  }
}

/** The snapshotter on fresh state, and a containerd that knows it. */
export async function startStargz ({ folder, cleanup, context }: RunPlace, options: readonly string[], env = process.env): Promise<PrivateContainerd> {
  const socket = join(folder, 'stargz.sock')
  const root = join(folder, 'stargz')
  await mkdir(root)
  const command = [stargzProgram(context), 'serve', socket, root, ...options]
  const snapshotter = await startProgram(command, join(folder, 'stargz'), async () => existsSync(socket), env)
  cleanup.add('stop stargz-snapshotter', async () => { await snapshotter.stop() })
  const containerd = await startContainerd(join(folder, 'containerd'), socket, 'stargz')
  cleanup.add('stop containerd', async () => { await containerd.stop() })
  // Its snapshots are unmounted when the image goes.
  cleanup.add('remove the image', async () => {
    const { stdout } = await containerd.ctr(['image', 'ls', '-q'], { mayFail: true })
    await containerd.ctr(['image', 'rm', '--sync', ...stdout.split('\n').filter((name) => name !== '')], { mayFail: true })
  })
  return containerd
}

async function converted (image: StoredImage, withList: boolean, context: BenchContext): Promise<string> {
  const folder = join(context.cache, 'stargz-images', `${image.recipe.name}-${image.recipe.version}${withList ? '-list' : ''}`)
  await once(folder, async (building) => {
    context.say(`converting ${image.recipe.name} with stargz-snapshotter's converter`)
    const list = withList ? [image.prefetchList] : []
    await run(stargzProgram(context), ['convert', image.layout, building, ...list], { timeoutMs: CONVERT_MS_MAX, signal: context.signal })
    if (readdirSync(join(building, 'blobs', 'sha256')).length === 0) throw new Error('the converter wrote nothing')
  })
  return folder
}
