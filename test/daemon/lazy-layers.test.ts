// What a lazy snapshot stores for the next daemon is enough to go on where the last one stopped.
import { expect, test } from '@jest/globals'
import { silentLog } from '../../src/base/log.ts'
import type { OpenedLayer } from '../../src/cache/layer-opener.ts'
import { Seal } from '../../src/cache/seal.ts'
import type { ImageBook } from '../../src/daemon/image-book.ts'
import { lazyLayers } from '../../src/daemon/lazy-layers.ts'
import { Opening } from '../../src/daemon/opening.ts'
import { Sources } from '../../src/daemon/sources.ts'
import type { BlockService } from '../../src/ipfs/blocks.ts'
import type { LayerMounts, LayerToMount } from '../../src/mount/layer-mounts.ts'
import type { LazyLayers } from '../../src/snapshots/lazy-layers.ts'

const CHAIN = `sha256:${'c'.repeat(64)}`
const layer = (key: string): OpenedLayer => ({ key }) as unknown as OpenedLayer
const CONFIGURED = [{ type: 'gateway' as const, url: 'http://127.0.0.1:3', timeoutMs: 1000 }]

/** One life of the daemon; `mounted` tells what it mounted last. */
function daemon (key: Uint8Array, booked: BlockService | null, sources: Sources): { layers: LazyLayers, mounted: LayerToMount[] } {
  const mounted: LayerToMount[] = []
  const held = (key: string): Opening => Opening.of(layer(key), async () => layer(key))
  const below = { opening: held('below'), below: null }
  const layers = lazyLayers({
    book: { find: () => booked === null ? null : { chainId: CHAIN, blocks: booked, opening: held('top'), below } } as unknown as ImageBook,
    mounts: { mount: async (request: LayerToMount) => { mounted.push(request) } } as unknown as LayerMounts,
    opener: { reopen: async (name: string) => layer(name) },
    sources,
    seal: new Seal(key),
    proofs: { judge: async () => true, prove: async () => {}, inBackground: () => {} },
    proveFirst: false
  })
  return { layers, mounted }
}

const mountOnce = async (layers: LazyLayers): Promise<string> => {
  const mount = await layers.mount({ chainId: CHAIN, parentChain: 'below', labels: {}, target: '/t', signal: new AbortController().signal })
  return mount?.restore ?? ''
}

const named = (request: LayerToMount | undefined): string[] => request?.blocks.sources().map(({ name }) => name) ?? []

test('a restored layer is fetched from the gateways that its pull named, then from the configured ones', async () => {
  const sources = new Sources(CONFIGURED, silentLog)
  const first = daemon(Buffer.alloc(32, 1), sources.for(['http://127.0.0.1:1'], 'http://127.0.0.1:2'), sources)
  const restore = await mountOnce(first.layers)
  expect(named(first.mounted[0])).toEqual(['127.0.0.1:2', '127.0.0.1:1'])

  const next = daemon(Buffer.alloc(32, 1), null, new Sources(CONFIGURED, silentLog))
  await next.layers.restore({ chainId: CHAIN, restore, target: '/t' })
  expect(named(next.mounted[0])).toEqual(['127.0.0.1:2', '127.0.0.1:1', '127.0.0.1:3'])
  expect([next.mounted[0]?.layer.key, ...next.mounted[0]?.lowers.map(({ key }) => key) ?? []]).toEqual(['top', 'below'])
})

test('a layer that lies on another is not mounted without it', async () => {
  const sources = new Sources(CONFIGURED, silentLog)
  const unknown = daemon(Buffer.alloc(32, 1), null, sources)
  const known = daemon(Buffer.alloc(32, 1), sources.for([], null), sources)
  const alone = { chainId: CHAIN, parentChain: null, labels: {}, target: '/t', signal: new AbortController().signal }
  await expect(known.layers.mount(alone)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  expect([known.mounted, await unknown.layers.mount(alone)]).toEqual([[], null])
})

test('a layer of configured sources stores no gateway', async () => {
  const sources = new Sources(CONFIGURED, silentLog)
  const first = daemon(Buffer.alloc(32, 1), sources.for([], null), sources)
  const restore = await mountOnce(first.layers)
  const next = daemon(Buffer.alloc(32, 1), null, sources)
  await next.layers.restore({ chainId: CHAIN, restore, target: '/t' })
  expect(next.mounted[0]?.blocks).toBe(sources.configured)
})

test('what another key sealed, or what was sealed for another chain, is refused', async () => {
  const sources = new Sources(CONFIGURED, silentLog)
  const restore = await mountOnce(daemon(Buffer.alloc(32, 1), sources.configured, sources).layers)
  const { layers } = daemon(Buffer.alloc(32, 2), null, sources)
  await expect(layers.restore({ chainId: CHAIN, restore, target: '/t' })).rejects.toMatchObject({ code: 'STATE_INVALID' })
  const same = daemon(Buffer.alloc(32, 1), null, sources)
  await expect(same.layers.restore({ chainId: `sha256:${'d'.repeat(64)}`, restore, target: '/t' })).rejects.toMatchObject({ code: 'STATE_INVALID' })
})
