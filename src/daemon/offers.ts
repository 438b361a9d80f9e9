// What this daemon offers beside containerd's plugins, each where the config says: images as a registry, the RPC of Kubo, and a
// gateway over the blocks that were given to this node.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Log } from '../base/log.ts'
import type { Config } from '../config/load.ts'
import { startGateway } from '../http/gateway.ts'
import { parseListen } from '../http/gateway-listen.ts'
import { serveKuboRpc } from '../http/kubo-rpc.ts'
import { serveRegistry } from '../http/registry.ts'
import { GivenBlocks } from '../ipfs/given-blocks.ts'
import { writeApiFile } from './api-file.ts'
import { KuboImages } from './kubo-reads.ts'
import { KuboUploads } from './kubo-uploads.ts'
import type { RegistryImages } from './registry-images.ts'
import type { Sources } from './sources.ts'

interface Place { readonly config: Config, readonly log: Log, readonly undo: AsyncDisposableStack }

interface Offered {
  readonly sources: Sources
  readonly images: RegistryImages
  readonly given: GivenBlocks | null
}

/** The folder that `gateway --store` serves. */
export function storeOf ({ root }: Pick<Config, 'root'>): string {
  return join(root, 'blocks')
}

/** Null on a node that was never given blocks, and to which nobody can give any. */
export async function openGiven (config: Config, log: Log): Promise<GivenBlocks | null> {
  const folder = storeOf(config)
  if (config.ipfsApi === null && config.gatewayAddress === null && !existsSync(folder)) return null
  return await GivenBlocks.open({ folder, maxBytes: config.storeMaxBytes, log })
}

export async function offerAll (place: Place, { sources, images, given }: Offered): Promise<void> {
  place.undo.defer(() => { images.close() })
  await offerRegistry(place, images)
  if (given === null) return
  await offerGateway(place, given)
  await offerIpfsApi(place, { sources, images, given })
}

async function offerRegistry ({ config, log, undo }: Place, images: RegistryImages): Promise<void> {
  if (config.registryAddress === null) return
  const registry = await serveRegistry(parseListen(config.registryAddress), images.find, log)
  undo.defer(async () => { await registry.close() })
}

async function offerGateway ({ config, log, undo }: Place, given: GivenBlocks): Promise<void> {
  if (config.gatewayAddress === null) return
  const gateway = await startGateway({ store: given.blocks, listen: parseListen(config.gatewayAddress), log })
  undo.defer(async () => { await gateway.close() })
  log.info({ url: gateway.url }, 'serving the blocks of this node as a gateway')
}

async function offerIpfsApi ({ config, log, undo }: Place, { sources, images, given }: Offered & { readonly given: GivenBlocks }): Promise<void> {
  const { ipfsApi: api, containerdAddress } = config
  if (api === null) return
  const reads = new KuboImages({ api, containerdAddress, sources, images, log })
  undo.defer(() => { reads.close() })
  const rpc = await serveKuboRpc(parseListen(api.address), { reads, writes: new KuboUploads(given) }, log)
  undo.defer(async () => { await rpc.close() })
  undo.defer(await writeApiFile(api.folder, rpc.multiaddr))
}
