// A node under load: our gateway with the CARs, our daemon, a private containerd.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cleanup } from '../demo/cleanup.ts'
import { startContainerd } from '../demo/containerd.ts'
import { COMMAND, product, startService } from '../demo/product.ts'
import { run } from '../demo/run.ts'

export interface LoadedNode {
  readonly state: string
  readonly daemonPid: number
  readonly status: () => Promise<Status>
  /** Returns the image's name in containerd. */
  readonly pull: (reference: string) => Promise<string>
  /** Removes the image and waits until its snapshots are gone, mounts and all. */
  readonly remove: (name: string) => Promise<void>
}

export interface Status {
  readonly bytesServed: number
  readonly bytesServedUnverified: number
  readonly worker: { readonly pid: number, readonly restarts: number, readonly violations: number }
}

export async function startNode (folder: string, cars: readonly string[], cleanup: Cleanup): Promise<LoadedNode> {
  await mkdir(folder, { recursive: true })
  const gateway = await startService(['gateway', ...cars.flatMap((car) => ['--car', car]), '--listen', '127.0.0.1:0'], join(folder, 'gateway'),
    async (stdout) => /http:\/\//.test(stdout))
  cleanup.add('stop the gateway', async () => { await gateway.stop() })
  const url = /http:\/\/[^\s"]+/.exec(await gateway.stdout())?.[0] ?? ''
  const config = join(folder, 'config.toml')
  const state = join(folder, 'state')
  await writeFile(config, [
    `root = "${join(folder, 'root')}"`, `state = "${state}"`,
    '[containerd]', `address = "${join(folder, 'containerd', 'containerd.sock')}"`,
    '[[source]]', 'type = "gateway"', `url = "${url}"`, ''
  ].join('\n'))
  cleanup.add('unmount', async () => { await run(COMMAND, ['serve', '--stop', '--config', config], { mayFail: true, timeoutMs: 60_000 }) })
  const daemon = await startService(['serve', '--config', config], join(folder, 'serve'),
    async () => (await run(COMMAND, ['status', '--config', config], { mayFail: true })).code === 0)
  cleanup.add('stop the daemon', async () => { await daemon.stop() })
  const containerd = await startContainerd(join(folder, 'containerd'), join(state, 'snapshotter.sock'))
  cleanup.add('stop containerd', async () => { await containerd.stop() })
  return {
    state,
    daemonPid: daemon.pid,
    status: async () => await product<Status>(['status', '--config', config]),
    pull: async (reference) => (await product<{ name: string }>(['pull', reference, '--config', config])).name,
    remove: async (name) => { await containerd.ctr(['images', 'rm', '--sync', name]) }
  }
}
