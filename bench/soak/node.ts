// A node under load: what the soak asks of it between its reads.
import { join } from 'node:path'
import type { Cleanup } from '../demo/cleanup.ts'
import { type BenchNode, startGateway, startNode } from '../demo/node.ts'
import { product } from '../demo/product.ts'

export interface LoadedNode extends BenchNode {
  readonly status: () => Promise<Status>
  /** Removes the image and waits until its snapshots are gone, mounts and all. */
  readonly remove: (name: string) => Promise<void>
}

export interface Status {
  readonly bytesServed: number
  readonly bytesServedUnverified: number
  readonly worker: { readonly pid: number, readonly restarts: number, readonly violations: number }
}

export async function startLoadedNode (folder: string, cars: readonly string[], cleanup: Cleanup): Promise<LoadedNode> {
  const node = await startNode(folder, await startGateway(cars, join(folder, 'gateway'), cleanup), cleanup)
  return {
    ...node,
    status: async () => await product<Status>(['status', '--config', node.config]),
    remove: async (name) => { await node.containerd.ctr(['images', 'rm', '--sync', name]) }
  }
}
