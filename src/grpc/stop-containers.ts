// Finds the containers whose root filesystem stands on given layers, in every namespace, and kills them: what the read
// policy does when a layer lied or cannot be read. Answers what it did; what could not be done is in the answer too.
import { asSnapshotterError, hasCode } from '../base/errors.ts'
import { ContainerdClient } from './containerd-client.ts'
import { fromTimestamp, type WireContainer } from './wire.ts'

export interface StoppedContainer {
  readonly namespace: string
  readonly container: string
  readonly image: string
  /** Null when it was killed; else why it could not be. */
  readonly error: string | null
}

/** Plugin name → chain IDs, by which containerd names the committed snapshots of the layers. */
export type LayersByPlugin = ReadonlyMap<string, ReadonlySet<string>>

/**
 * Containers without a running task are passed over, and those that were created after `beforeNs` (nanoseconds since 1970):
 * by then the layers' chain IDs may stand for others. @throws CONTAINERD when it cannot be reached.
 */
export async function stopContainers (address: string, layers: LayersByPlugin, beforeNs: bigint): Promise<StoppedContainer[]> {
  const root = new ContainerdClient({ address, namespace: 'default' })
  try {
    const stopped = await Promise.all((await root.namespaces()).map(async (namespace) => await stopIn(address, namespace, layers, beforeNs)))
    return stopped.flat()
  } finally {
    root.close()
  }
}

async function stopIn (address: string, namespace: string, layers: LayersByPlugin, beforeNs: bigint): Promise<StoppedContainer[]> {
  const client = new ContainerdClient({ address, namespace })
  try {
    const stopped: StoppedContainer[] = []
    for (const container of await standingOn(client, layers, beforeNs)) {
      const error = await kill(client, container.id)
      if (error !== false) stopped.push({ namespace, container: container.id, image: container.image, error })
    }
    return stopped
  } finally {
    client.close()
  }
}

async function standingOn (client: ContainerdClient, layers: LayersByPlugin, beforeNs: bigint): Promise<WireContainer[]> {
  const found = new Map<string, WireContainer>()
  const containers = (await client.containers()).filter(({ createdAt }) => fromTimestamp(createdAt) <= beforeNs)
  for (const [snapshotter, chainIds] of layers) {
    const parents = containers.length === 0 ? new Map<string, string>() : await client.snapshotParents(snapshotter)
    for (const container of containers) {
      // Docker records neither; there the snapshot has the container's id.
      if (container.snapshotter !== snapshotter && container.snapshotter !== '') continue
      if (stands(container.snapshotKey === '' ? container.id : container.snapshotKey, parents, chainIds)) found.set(container.id, container)
    }
  }
  return [...found.values()]
}

function stands (key: string, parents: ReadonlyMap<string, string>, chainIds: ReadonlySet<string>): boolean {
  for (let name: string | undefined = key; name !== undefined && name !== ''; name = parents.get(name)) {
    if (chainIds.has(name)) return true
  }
  return false
}

async function kill (client: ContainerdClient, id: string): Promise<string | null | false> {
  try {
    await client.killTask(id)
    return null
  } catch (error) {
    return hasCode(error, 'NOT_FOUND') ? false : asSnapshotterError(error).line
  }
}
