import { describe, expect, test } from '@jest/globals'
import { documentsOf } from '../../src/grpc/pull-blobs.ts'
import type { ImagePlan, PlannedLayer, VerifiedDocument } from '../../src/image/plan.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { verifyDigest } from '../../src/verify/verified-bytes.ts'

function document (mediaType: string, content: object): VerifiedDocument {
  const bytes = Buffer.from(JSON.stringify(content))
  return { mediaType, digest: digestOf(bytes), bytes: verifyDigest(digestOf(bytes), bytes, mediaType) }
}

const config = document('config', { c: 1 })
const manifest = document('manifest', { m: 1 })
const layer = (name: string): PlannedLayer => ({ digest: digestOf(Buffer.from(name)), chainId: digestOf(Buffer.from(`${name} chain`)) }) as PlannedLayer
const layers = [layer('base'), layer('upper')]
const linux = { os: 'linux', architecture: 'amd64' }
const arm = { os: 'linux', architecture: 'arm64' }
const ours = { digest: manifest.digest, platform: linux }
const child = (platform?: object): object => ({ digest: digestOf(Buffer.from(JSON.stringify(platform ?? {}))), platform })
const planWith = (manifests: readonly object[] | null): ImagePlan =>
  ({ index: manifests === null ? null : document('index', { manifests }), manifest, config, layers }) as unknown as ImagePlan

describe('the documents of a pull', () => {
  test('lead the collector from the index to the top snapshot', () => {
    const { target, blobs } = documentsOf(planWith([child(arm), ours]), 'ipfs')
    expect(target.mediaType).toBe('index')
    expect(blobs.map(({ ref }) => ref.split('-')[0])).toEqual(['index', 'manifest', 'config'])
    expect(blobs.map(({ labels }) => labels)).toEqual([
      { 'containerd.io/gc.ref.content.m.1': manifest.digest },
      {
        'containerd.io/gc.ref.content.config': config.digest,
        'containerd.io/gc.ref.content.l.0': layers[0]?.digest,
        'containerd.io/gc.ref.content.l.1': layers[1]?.digest
      },
      { 'containerd.io/gc.ref.snapshot.ipfs': layers[1]?.chainId }
    ])
  })

  test.each<[string, readonly object[] | null, 'index' | 'manifest']>([
    ['there is no index', null, 'manifest'],
    ['our child is alone', [ours], 'index'],
    ['our child has no platform but stands first', [{ digest: manifest.digest }, child(linux)], 'index'],
    ['another child of our platform stands before ours', [child(linux), ours], 'manifest'],
    ['a child without platform stands before ours', [child(), ours], 'manifest'],
    ['our child has no platform and another one without stands before it', [child(), { digest: manifest.digest }], 'manifest'],
    ['other platforms stand before ours', [child(arm), child({ os: 'unknown', architecture: 'unknown' }), ours], 'index'],
    ['the index does not name our manifest', [child(arm)], 'manifest']
  ])('the target, when %s', (_case, manifests, mediaType) => {
    const { target, blobs } = documentsOf(planWith(manifests), 'ipfs')
    expect(target).toMatchObject({ mediaType, size: expect.any(Number) })
    expect(blobs).toHaveLength(mediaType === 'index' ? 3 : 2)
  })
})
