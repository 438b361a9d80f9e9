// One node as the benchmarks run it: our daemon with a fresh root and state behind one gateway, and a private containerd
// that knows it as snapshotter `ipfs`.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Cleanup } from './cleanup.ts'
import { type PrivateContainerd, startContainerd } from './containerd.ts'
import { COMMAND, product, startService } from './product.ts'
import { run } from './run.ts'

export interface BenchNode {
  readonly config: string
  readonly state: string
  readonly daemonPid: number
  readonly containerd: PrivateContainerd
  /** Returns the image's name in containerd. */
  readonly pull: (reference: string, signal?: AbortSignal) => Promise<string>
}

/** Our gateway with the CARs on a free loopback port; returns its URL. `name`: where its output goes. */
export async function startGateway (cars: readonly string[], name: string, cleanup: Cleanup): Promise<string> {
  await mkdir(dirname(name), { recursive: true })
  const gateway = await startService(['gateway', ...cars.flatMap((car) => ['--car', car]), '--listen', '127.0.0.1:0'], name,
    async (stdout) => /http:\/\//.test(stdout))
  cleanup.add('stop the gateway', async () => { await gateway.stop() })
  return /http:\/\/[^\s"]+/.exec(await gateway.stdout())?.[0] ?? ''
}

/** Logs: `serve.log` and `containerd/containerd.log` in `folder`. */
export async function startNode (folder: string, gateway: string, cleanup: Cleanup): Promise<BenchNode> {
  await mkdir(folder, { recursive: true })
  const config = join(folder, 'config.toml')
  const state = join(folder, 'state')
  await writeFile(config, [
    `root = "${join(folder, 'root')}"`, `state = "${state}"`,
    '[containerd]', `address = "${join(folder, 'containerd', 'containerd.sock')}"`,
    '[[source]]', 'type = "gateway"', `url = "${gateway}"`, ''
  ].join('\n'))
  // Goes first on the way up and last on the way down: also what a killed daemon left is taken away.
  cleanup.add('unmount', async () => { await run(COMMAND, ['serve', '--stop', '--config', config], { mayFail: true, timeoutMs: 60_000 }) })
  const daemon = await startService(['serve', '--config', config], join(folder, 'serve'),
    async () => (await run(COMMAND, ['status', '--config', config], { mayFail: true })).code === 0)
  cleanup.add('stop the daemon', async () => { await daemon.stop() })
  const containerd = await startContainerd(join(folder, 'containerd'), join(state, 'snapshotter.sock'))
  cleanup.add('stop containerd', async () => { await containerd.stop() })
  return {
    config,
    state,
    daemonPid: daemon.pid,
    containerd,
    pull: async (reference, signal) => (await product<{ name: string }>(['pull', reference, '--config', config], { signal })).name
  }
}
