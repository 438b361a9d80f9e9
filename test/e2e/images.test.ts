// Every fixture image that we can read, in every form we publish it in, with each driver, through containerd: the whole
// merged tree against the truth that containerd's own overlayfs snapshotter gave.
import { afterAll, beforeAll, describe, expect } from '@jest/globals'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { type CompareOptions, compareTrees, readTruth, type Tree } from '../suites/tree-compare.ts'
import { dumpTree } from '../suites/tree-dump.ts'
import { command } from './command.ts'
import { publish, type Published, Scene, shelf, startGateway } from './harness.ts'
import type { Service } from './command.ts'
import { run } from './run.ts'

const FIXTURES = join(import.meta.dirname, '..', 'fixtures')
const READABLE = [
  'umoci-gzip.oci.tar', 'docker-archive.tar.gz', 'estargz.oci.tar', 'estargz-64k.oci.tar', 'estargz-inner.oci.tar',
  'soci-v1.oci.tar.gz', 'soci-v2.oci.tar.gz'
]
const ZSTD = ['zstd.oci.tar', 'zstdchunked.oci.tar', 'zstdchunked-skopeo.oci.tar']
/** Their own TOC rounds times to seconds. */
const ROUNDED = /^estargz/
/** What stargz's own tar writer cut to seconds when it made these fixtures: no other copy of the time is in them. */
const CUT_BY_STARGZ = Buffer.from(`/srv/${'ü'.repeat(100)}.txt`).toString('latin1')
const FORMATS = ['keep', 'estargz'] as const
const CARS: Readonly<Record<string, string>> = {
  'layout-estargz-unixfs-v1-2025': 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude',
  'layout-gzip-unixfs-v0-2015': 'QmNWUN9Hk8gMEeRUaBuznW1xv1SXGeSKqZSdesSpmiKm9L',
  'layout-estargz-trickle-4k': 'bafybeic4uczlpkmdcjvqryue44amdy2wdsxq2ir5syohbiin2774dbnz2a',
  'layout-gzip-rabin': 'bafybeibtyz43uspevs3yi2y2xbxqtlrrsecwjheoifmop3fdgobw75slku',
  'layout-estargz-hamt': 'bafybeiade6etkd7kanrj6lmfkel5xbwiy75376wgb6pn75jlnhcqn2et44',
  'layout-gzip-inline': 'bafybeiauut6llh7tafut5ouixk46zw6pulob35jix2lwy6rytvxxaj7fli',
  'nerdctl-estargz': 'bafkreih27ajrojltfvxnbaf7dizcbiwumkmm7kmdavc3izdgd57cij5n7q'
}

const folder = shelf()
const services: Service[] = []
const published = new Map<string, Published>()
let truth: Tree
let url = ''

beforeAll(async () => {
  await preparePrograms()
  mkdirSync(folder)
  truth = await readTruth(join(FIXTURES, 'truth', 'merged.json'))
  for (const format of FORMATS) {
    await Promise.all([...READABLE, ...format === 'keep' ? ZSTD : []].map(async (name) => {
      published.set(`${format} ${name}`, await publish(join(FIXTURES, 'images', name), join(folder, `${format}-${name}.car`), format))
    }))
  }
  const cars = Object.keys(CARS).map((name) => join(FIXTURES, 'cars', `${name}.car`))
  url = await startGateway(folder, [...[...published.values()].map(({ car }) => car), ...cars], (service) => { services.push(service) })
}, PREPARE_MS)

afterAll(async () => {
  for (const service of services) await service.end()
  rmSync(folder, { recursive: true, force: true })
})

/** Pulls, mounts through containerd, compares and removes; the image leaves nothing but the cache. */
async function compareMounted (scene: Scene, reference: string, options: CompareOptions): Promise<string[]> {
  const { name, layers } = await scene.pull(reference)
  try {
    return await scene.withMounted(layers.at(-1)?.chainId ?? '', async (directory) =>
      compareTrees(await dumpTree(directory, { sameDirentNumbers: false }), truth, options))
  } finally {
    await scene.removeImage(name)
    await scene.noLayerMounts()
  }
}


describe.each(['erofs', 'erofs-loop', 'fuse'] as const)('with the driver %s', (driver) => {
  let scene: Scene

  beforeAll(async () => { scene = await Scene.start({ sources: [url], driver }) }, PREPARE_MS)
  afterAll(async () => { await scene.end() }, PREPARE_MS)

  const cases = FORMATS.flatMap((format) => READABLE.map((name) => [name, format] as const))
  run.each(cases)('%s published with --format %s has the tree of the truth', async (name, format) => {
    const { reference } = published.get(`${format} ${name}`) as Published
    expect(reference).toMatch(/^ipfs:\/\/bafy[a-z2-7]+@sha256:[0-9a-f]{64}$/)
    const options = !ROUNDED.test(name)
      ? { ignoreMtimeOf: ['/'] }
      : format === 'keep' ? { ignoreMtimeOf: ['/'], mtimeInSeconds: true } : { ignoreMtimeOf: ['/', CUT_BY_STARGZ] }
    expect(await compareMounted(scene, reference, { ...options, mtimeInMilliseconds: driver === 'fuse' })).toEqual([])
  })

  run('served every byte checked, and by this driver', async () => {
    const status = await scene.status()
    expect(status).toMatchObject({ driver, bytesServedUnverified: 0, worker: { violations: 0 } })
    expect(status.bytesServed).toBeGreaterThan(1e6)
    expect(await scene.snapshots()).toEqual([])
  })

  if (driver === 'erofs') {
    run.each(Object.entries(CARS))('the image that Kubo added as %s has the tree of the truth', async (name, cid) => {
      expect(await compareMounted(scene, `ipfs://${cid}`, { ignoreMtimeOf: ['/'], mtimeInSeconds: name.includes('estargz') })).toEqual([])
    })

    run.each(ZSTD)('%s is refused with one line that says zstd, and leaves nothing', async (name) => {
      const { reference } = published.get(`keep ${name}`) as Published
      const { code, stderr } = await scene.tryPull(reference)
      expect(code).toBe(1)
      expect(stderr.trim().split('\n').at(-1)).toMatch(/^(UNSUPPORTED|MEDIA_TYPE_UNSUPPORTED): .*zstd/)
      expect(await scene.snapshots()).toEqual([])
      expect(scene.layerMounts()).toEqual([])
      expect(scene.temporaryFiles()).toEqual([])
    })
  }
})

run('a zstd image is not published as eStargz, and no CAR is left', async () => {
  const car = join(folder, 'zstd.car')
  const { code, stderr } = await command(['publish', join(FIXTURES, 'images', 'zstd.oci.tar'), '--car', car])
  expect(code).toBe(1)
  expect(stderr.trim().split('\n').at(-1)).toMatch(/^(UNSUPPORTED|MEDIA_TYPE_UNSUPPORTED): .*zstd/)
  expect(readdirSync(folder).filter((name) => name.startsWith('zstd.car'))).toEqual([])
})
