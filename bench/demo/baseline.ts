// The baseline: stock containerd with overlayfs pulls the plain image from a static registry behind the same kind of line
// and runs it; from the start of the pull to the container's first line.
import { join } from 'node:path'
import { startPacingProxy } from '../pacing-proxy.ts'
import { startStaticRegistry } from '../static-registry.ts'
import type { Cleanup } from './cleanup.ts'
import { startContainerd } from './containerd.ts'

export async function measureFullPull (
  folder: string, layout: string, line: { readonly rttMs: number, readonly bytesPerSecond: number }, program: readonly string[], cleanup: Cleanup
): Promise<number> {
  const registry = await startStaticRegistry(layout)
  cleanup.add('stop the registry', async () => { await registry.close() })
  const proxy = await startPacingProxy({ target: registry.url, ...line })
  cleanup.add('stop the registry proxy', async () => { await proxy.close() })
  const containerd = await startContainerd(folder, join(folder, 'unused.sock'))
  cleanup.add('stop the baseline containerd', async () => { await containerd.stop() })

  const reference = `${new URL(proxy.url).host}/demo:latest`
  const began = performance.now()
  await containerd.ctr(['image', 'pull', '--plain-http', '--snapshotter', 'overlayfs', reference])
  let first = 0
  await containerd.ctr(['run', '--rm', '--snapshotter', 'overlayfs', reference, 'baseline', ...program], {
    onStdout: () => { if (first === 0) first = performance.now() }
  })
  await containerd.ctr(['image', 'rm', '--sync', reference])
  return Math.round(first - began)
}
