// A private containerd for the demo: own root, state, socket and config, with our snapshotter as a proxy plugin. The
// machine's own containerd, if any, is not touched.
import { spawn, type ChildProcess } from 'node:child_process'
import { openSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run, type Finished } from './run.ts'

export interface PrivateContainerd {
  readonly address: string
  readonly ctr: (args: readonly string[], options?: Parameters<typeof run>[2]) => Promise<Finished>
  readonly stop: () => Promise<void>
}

/** @param plugin the name under which containerd knows the snapshotter behind the socket */
export async function startContainerd (folder: string, snapshotterSocket: string, plugin = 'ipfs'): Promise<PrivateContainerd> {
  await mkdir(folder, { recursive: true })
  const address = join(folder, 'containerd.sock')
  await writeFile(join(folder, 'config.toml'), `
version = 2
root = "${join(folder, 'root')}"
state = "${join(folder, 'state')}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${address}"
[proxy_plugins.${plugin}]
  type = "snapshot"
  address = "${snapshotterSocket}"
`)
  const log = openSync(join(folder, 'containerd.log'), 'w')
  const child = spawn('containerd', ['--config', join(folder, 'config.toml')], { stdio: ['ignore', log, log] })
  const ctr: PrivateContainerd['ctr'] = async (args, options = {}) => await run('ctr', ['--address', address, ...args], { timeoutMs: 600_000, ...options })
  await until('containerd', async () => (await ctr(['version'], { mayFail: true })).code === 0)
  return { address, ctr, stop: async () => { await stop(child) } }
}

export async function stop (child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise<void>((resolve) => child.once('exit', () => { resolve() }))
  child.kill(signal)
  await Promise.race([gone, sleep(10_000).then(() => { child.kill('SIGKILL') })])
}

export async function until (what: string, ready: () => Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  for (let waited = 0; waited < timeoutMs; waited += 50) {
    if (await ready()) return
    await sleep(50)
  }
  throw new Error(`${what} was not ready within ${timeoutMs} ms`)
}
