// Stock nerdctl: a full pull that unpacks while it downloads, and the peer's way to IPFS, `ipfs://` with stargz-snapshotter
// and a real Kubo that holds the image, whose RPC is at the other end of the line.
import { readFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startContainerd } from '../demo/containerd.ts'
import { run } from '../demo/run.ts'
import { published } from '../images/image-store.ts'
import { onPath, startProgram } from '../service.ts'
import type { Contender, RunPlace } from './contender.ts'
import { registrySource } from './full-pull.ts'
import { startStargz } from './stargz.ts'
import { buildStargz } from './stargz-program.ts'

const OFTEN_ENOUGH = ['python'] // on the others only when named: a full pull or nearly one each

function nerdctl ({ folder }: RunPlace, snapshotter: string, ...args: readonly string[]): string[] {
  return ['--address', join(folder, 'containerd', 'containerd.sock'), '--namespace', 'default', '--data-root', join(folder, 'nerdctl'),
    '--cni-netconfpath', join(folder, 'cni'), '--snapshotter', snapshotter, ...args]
}

export const nerdctlPull: Contender = {
  name: 'nerdctl-pull',
  about: '`nerdctl pull` (unpacks while it downloads) and `ctr run`, overlayfs, same registry and image as containerd',
  lazy: false,
  images: OFTEN_ENOUGH,
  absent: async () => onPath('nerdctl') ? null : 'no nerdctl on PATH',
  source: async (image, _context, cleanup) => await registrySource(image.layout, image, cleanup),
  start: async (place) => {
    const { image, source, url, folder, cleanup, context: { signal } } = place
    const containerd = await startContainerd(join(folder, 'containerd'), join(folder, 'unused.sock'))
    cleanup.add('stop containerd', async () => { await containerd.stop() })
    const reference = `${new URL(url).host}/${source.reference}`
    return {
      logs: ['containerd/containerd.log'],
      pull: async () => {
        await run('nerdctl', nerdctl(place, 'overlayfs', '--insecure-registry', 'pull', '--quiet', reference), { timeoutMs: 600_000, signal })
      },
      run: async (id, onStdout) => {
        await containerd.ctr(['run', '--rm', '--snapshotter', 'overlayfs', reference, id, ...image.recipe.program], { onStdout, signal })
      }
    }
  }
}

export const nerdctlKubo: Contender = {
  name: 'kubo-list',
  about: '`nerdctl pull ipfs://` with stargz-snapshotter and Kubo, then `ctr run`; the RPC of a Kubo that holds the image as this project ' +
    'publishes it with the same list is behind the line',
  lazy: true,
  images: OFTEN_ENOUGH,
  absent: async (context) => {
    const missing = ['nerdctl', 'ipfs'].filter((program) => !onPath(program))
    return missing.length > 0 ? `no ${missing.join(' and no ')} on PATH` : await buildStargz(context)
  },
  source: async (image, context, cleanup) => {
    const { car, nerdctlCid } = await published(context.cache, image, ['--prefetch-list', image.prefetchList], context.say)
    const repository = join(context.scratch, `kubo-${image.recipe.name}`)
    const env = { ...process.env, IPFS_PATH: repository }
    const ipfs = async (...args: readonly string[]): Promise<void> => { await run('ipfs', args, { env, timeoutMs: 600_000, signal: context.signal }) }
    await ipfs('init', '--empty-repo', '--profile', 'test')
    for (const [key, value] of Object.entries(ALONE)) await ipfs('config', '--json', key, JSON.stringify(value))
    await ipfs('dag', 'import', '--pin-roots=false', '--stats=false', car)
    const ready = async (): Promise<boolean> => (await readFile(`${repository}.out`, 'utf8')).includes('Daemon is ready')
    const daemon = await startProgram(['ipfs', 'daemon', '--offline'], repository, ready, env)
    cleanup.add('stop Kubo', async () => { await daemon.stop() })
    const port = /\/tcp\/(\d+)/.exec(await readFile(join(repository, 'api'), 'utf8'))?.[1] ?? ''
    const { stdout } = await run('find', [join(repository, 'blocks'), '-name', '*.data'])
    const files = stdout.split('\n').filter((name) => name !== '')
    return { url: `http://127.0.0.1:${port}`, files, imageBytes: image.imageBytes, reference: `ipfs://${nerdctlCid}` }
  },
  start: async (place) => {
    const { image, source, url, folder, context: { signal } } = place
    // The daemon's clients find it by the address in this file: the line's near end.
    const near = join(folder, 'ipfs')
    await mkdir(near)
    await writeFile(join(near, 'api'), `/ip4/127.0.0.1/tcp/${new URL(url).port}`)
    const env = { ...process.env, IPFS_PATH: near }
    const containerd = await startStargz(place, ['--ipfs'], env)
    return {
      logs: ['stargz.log', 'containerd/containerd.log'],
      pull: async () => { await run('nerdctl', nerdctl(place, 'stargz', 'pull', '--quiet', source.reference), { env, timeoutMs: 600_000, signal }) },
      run: async (id, onStdout) => {
        const name = (await containerd.ctr(['image', 'ls', '-q'])).stdout.trim().split('\n')[0] ?? ''
        await containerd.ctr(['run', '--rm', '--snapshotter', 'stargz', name, id, ...image.recipe.program], { onStdout, signal })
      }
    }
  }
}

/** A Kubo that speaks to nobody but through its RPC. */
const ALONE: Readonly<Record<string, unknown>> = {
  'Addresses.API': '/ip4/127.0.0.1/tcp/0',
  'Addresses.Gateway': '/ip4/127.0.0.1/tcp/0',
  'Addresses.Swarm': [],
  'AutoConf.Enabled': false,
  'Swarm.DisableNatPortMap': true
}
