// Lazy layers for snapshotter tests: a chain ID is a directory, "mounting" binds it read-only. Real mounts, so real
// semantics for everybody above; what a daemon would fetch is told by the test.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { SnapshotterError } from '../../src/base/errors.ts'
import type { LazyLayers, LazyMountRequest } from '../../src/snapshots/lazy-layers.ts'

export class BindLayers implements LazyLayers {
  /** Chain ID → directory with the layer's files. */
  readonly known = new Map<string, string>()
  /** Every mount that was asked for. */
  readonly requests: LazyMountRequest[] = []
  readonly restored: string[] = []
  /** Runs before each mount: a test's place to fail or to wait. */
  beforeMount: (request: LazyMountRequest) => Promise<void> = async () => {}
  beforeRestore: (chainId: string) => Promise<void> = async () => {}
  readonly gone = new Set<string>()

  constructor (known: Iterable<readonly [string, string]> = []) {
    this.known = new Map(known)
  }

  mount: LazyLayers['mount'] = async (request) => {
    this.requests.push(request)
    await this.beforeMount(request)
    const directory = this.known.get(request.chainId)
    if (directory === undefined) return null
    bind(directory, request.target)
    return { labels: { 'containerd.io/snapshot/test.lazy': 'yes' }, restore: directory }
  }

  restore: LazyLayers['restore'] = async ({ chainId, restore, target }) => {
    await this.beforeRestore(chainId)
    if (!existsSync(restore)) throw new SnapshotterError('DATA_PLANE_DOWN', `${restore} is gone`)
    this.restored.push(chainId)
    if (!isMounted(target)) bind(restore, target)
    return restore
  }

  unmount: LazyLayers['unmount'] = async (target) => {
    while (isMounted(target)) execFileSync('umount', ['-n', target], { stdio: 'ignore' })
  }

  check: LazyLayers['check'] = async (target) => {
    if (this.gone.has(target) || !isMounted(target)) throw new SnapshotterError('UNAVAILABLE', `${target} is not mounted`)
  }
}

export function isMounted (target: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8').split('\n').some((line) => line.split(' ')[4] === target)
}

/** Mount points at or below `root`. */
export function mountsBelow (root: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((point) => point === root || point.startsWith(`${root}/`))
}

function bind (from: string, target: string): void {
  execFileSync('mount', ['-n', '--bind', from, target], { stdio: 'ignore' })
  execFileSync('mount', ['-n', '-o', 'remount,bind,ro', target], { stdio: 'ignore' })
}
