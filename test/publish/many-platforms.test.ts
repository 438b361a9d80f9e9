// Images for several platforms: which are published, how they are named, and that a reader finds each of them.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { verifyImage } from '../../src/library/index.ts'
import { parsePlatform } from '../../src/oci/platform.ts'
import type { Published, PublishOptions } from '../../src/publish/publish.ts'
import { lineOf } from '../layer/errors.ts'
import { writeManyPlatforms } from './many-platforms.ts'
import { blobOf, inFolder, jsonOf, namesIn, publishTo, readLayout } from './published.ts'

interface Index { readonly manifests: ReadonlyArray<{ mediaType: string, digest: string, annotations?: Record<string, string>, platform?: object }> }

const ARCHITECTURES = ['amd64', 'arm64', 'arm/v7']
const PLATFORMS = ARCHITECTURES.map((text) => `linux/${text}`)
const command = join(import.meta.dirname, '../../scripts/ipfs-snapshotter')

/** What a reader finds in the CAR under the reference, for each platform. */
async function found ({ car, reference }: Published, platforms: readonly string[]): Promise<Array<{ platform: string, manifestDigest: string }>> {
  return await Promise.all(platforms.map(async (wanted) => {
    const { platform, manifestDigest } = await verifyImage(reference, { sources: [{ type: 'car', path: car }], platform: wanted })
    return { platform, manifestDigest }
  }))
}

test('--all-platforms converts each and lists them in an index, whose digest names them all', async () => inFolder(async (folder) => {
  const { layout } = await writeManyPlatforms(folder, ARCHITECTURES)
  const converted: string[] = []
  const notes: string[] = []
  const report: PublishOptions['report'] = (event) => {
    if (event.event === 'begin' && event.phase === 'convert') converted.push(event.item)
    if (event.event === 'note') notes.push(event.text)
  }
  const published = await publishTo(join(folder, 'image.car'), layout, { platforms: 'all', report })

  expect(published.images.map(({ platform }) => platform)).toEqual(PLATFORMS)
  expect(published.reference).toBe(`ipfs://${published.cid}@${published.indexDigest}`)
  expect(published.references.ctr).toBe(`ipfs:0/${published.cid}@${published.indexDigest}`)
  expect(published).toMatchObject({ platform: 'linux/amd64', manifestDigest: published.images[0]?.manifestDigest, layers: published.images[0]?.layers })
  const wanted = published.images.map(({ platform, manifestDigest }) => ({ platform, manifestDigest }))
  expect(await found(published, PLATFORMS)).toEqual(wanted)
  expect(await found({ ...published, reference: published.references.nerdctl }, PLATFORMS)).toEqual(wanted)
  expect(converted.length).toBe(4) // what all share once, and one of each
  expect(notes).toContain('3 attestations are left out: they speak of the manifests before the conversion')

  const files = await readLayout(published.car)
  const { manifests: [top, ...rest] } = jsonOf(files.files.get('index.json') ?? Buffer.alloc(0)) as unknown as Index
  expect(rest).toEqual([])
  expect(top).toMatchObject({ mediaType: 'application/vnd.oci.image.index.v1+json', digest: published.indexDigest })
  expect(top?.annotations).toMatchObject({ 'io.containerd.image.name': 'many:latest' })
  expect(top?.annotations).not.toHaveProperty('org.example.of')
  const list = jsonOf(blobOf(files, published.indexDigest)) as unknown as Index
  expect(list.manifests.map(({ annotations }) => annotations?.['org.example.of'])).toEqual(['amd64', 'arm64', 'arm'])
  expect(list.manifests[2]?.platform).toEqual({ os: 'linux', architecture: 'arm', variant: 'v7' })
}))

test('some of many, in the order of the source; one alone needs no index', async () => inFolder(async (folder) => {
  const { layout } = await writeManyPlatforms(folder, ARCHITECTURES)
  const two = await publishTo(join(folder, 'two.car'), layout, { platforms: ['linux/arm/v7', 'linux/amd64', 'linux/amd64'].map(parsePlatform) })
  const one = await publishTo(join(folder, 'one.car'), layout, { platforms: [parsePlatform('linux/arm64')] })
  const only = await publishTo(join(folder, 'only.car'), (await writeManyPlatforms(join(folder, 'single'), ['arm64'])).layout, { platforms: 'all' })

  expect(two.images.map(({ platform }) => platform)).toEqual(['linux/amd64', 'linux/arm/v7'])
  expect((await found(two, ['linux/arm/v7']))[0]?.manifestDigest).toBe(two.images[1]?.manifestDigest)
  expect(await lineOf(found(two, ['linux/arm64']))).toMatch(/^PLATFORM_MISSING: .*; it has linux\/amd64, linux\/arm\/v7$/)
  expect(one.reference).toBe(`ipfs://${one.cid}@${one.manifestDigest}`)
  expect(one.images).toEqual([{ platform: 'linux/arm64', manifestDigest: one.manifestDigest, layers: one.layers }])
  expect(only.reference).toBe(`ipfs://${only.cid}@${only.manifestDigest}`)
}))

test('kept, the index stays as it is, attestations and all, and its own digest names several', async () => inFolder(async (folder) => {
  const { layout, images, attestations, index } = await writeManyPlatforms(folder, ARCHITECTURES)
  const all = await publishTo(join(folder, 'all.car'), layout, { format: 'keep', platforms: 'all' })
  const one = await publishTo(join(folder, 'one.car'), layout, { format: 'keep', platforms: [parsePlatform('linux/arm64')] })

  expect(all.reference).toBe(`ipfs://${all.cid}@${index.digest}`)
  expect(await found(all, PLATFORMS)).toEqual(images.map(({ manifest }, at) => ({ platform: PLATFORMS[at], manifestDigest: manifest.digest })))
  expect(one.cid).toBe(all.cid)
  expect(one.reference).toBe(`ipfs://${all.cid}@${images[1]?.manifest.digest ?? ''}`)
  const files = await readLayout(all.car)
  for (const { digest } of attestations) blobOf(files, digest)
}))

test.each(['keep', 'estargz'] as const)('%s: of a flat index, which is no blob, too, each platform is found', async (format) => inFolder(async (folder) => {
  const { layout, index } = await writeManyPlatforms(folder, ARCHITECTURES, { flat: true })
  const published = await publishTo(join(folder, 'image.car'), layout, { format, platforms: 'all' })

  if (format === 'keep') expect(published.indexDigest).toBe(index.digest)
  expect(published.reference).toBe(`ipfs://${published.cid}@${published.indexDigest}`)
  expect(await found(published, PLATFORMS)).toEqual(published.images.map(({ platform, manifestDigest }) => ({ platform, manifestDigest })))
}))

test.each(['keep', 'estargz'] as const)('%s: what is missing of a wanted platform is named, and nothing is left', async (format) => inFolder(async (folder) => {
  const { layout, images: [amd64, arm64, arm], attestations: [attestation], lose } = await writeManyPlatforms(folder, ARCHITECTURES)
  if (amd64 === undefined || arm64 === undefined || arm === undefined || attestation === undefined) throw new Error('three images were written')
  const layer = arm64.layers[1]
  if (layer === undefined) throw new Error('two layers were written')
  const tried = async (platforms: PublishOptions['platforms']): Promise<string> =>
    (await lineOf(publishTo(join(folder, 'image.car'), layout, { format, platforms }))).replaceAll(layout, 'SOURCE')
  await lose(layer)
  await lose(arm.manifest)
  await lose(attestation)

  expect(await tried([parsePlatform('linux/arm64')])).toBe(`NOT_OCI: SOURCE has no blob ${layer.digest}, a layer of ${arm64.manifest.digest} (linux/arm64)`)
  expect(await tried([parsePlatform('linux/arm/v7')]))
    .toBe(`NOT_OCI: SOURCE names an image for linux/arm/v7 and lacks its manifest or config (${arm.manifest.digest})`)
  expect(await tried('all')).toBe(`NOT_OCI: SOURCE has no manifest or config of ${arm.manifest.digest} (linux/arm/v7)`)
  expect(await tried([parsePlatform('linux/riscv64')])).toBe('PLATFORM_MISSING: SOURCE: no image for linux/riscv64; it has linux/amd64, linux/arm64')
  expect(await namesIn(folder)).toEqual(['layout'])
  expect(await tried([parsePlatform('linux/amd64')])).toBe('no error')
}))

test('the command takes platforms as a list, repeated, or all of them', async () => inFolder(async (folder) => {
  const { layout } = await writeManyPlatforms(folder, ARCHITECTURES)
  const run = async (...flags: string[]): Promise<string[]> => {
    const { stdout } = await promisify(execFile)(command, ['publish', layout, '--car', join(folder, 'x.car'), '--json', ...flags])
    return (JSON.parse(stdout) as Published).images.map(({ platform }) => platform)
  }
  const refused = async (...flags: string[]): Promise<unknown> =>
    await run(...flags).then(() => 'no error', (error: unknown) => (error as { code: number }).code)

  expect(await run('--platform', 'linux/amd64,linux/arm64')).toEqual(['linux/amd64', 'linux/arm64'])
  expect(await run('--platform', 'linux/aarch64', '--platform', 'linux/arm')).toEqual(['linux/arm64', 'linux/arm/v7'])
  expect(await run('--all-platforms')).toEqual(PLATFORMS)
  expect(await refused('--all-platforms', '--platform', 'linux/amd64')).toBe(2)
  expect(await refused('--platform', 'amd64')).toBe(1)
}))
