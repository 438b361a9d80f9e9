// skopeo, which stands for everything that copies from a registry without a word to containerd: it gets the whole image from
// the façade, byte for byte.
import { afterAll, beforeAll, expect } from '@jest/globals'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { execute, type Outcome, type Service } from '../e2e/command.ts'
import { publish, type Published, Scene, shelf, startGateway, whyNot } from '../e2e/harness.ts'
import { type ProgramImage, programImage } from '../e2e/program-image.ts'
import { isOnPath, testWith } from './tools.ts'

const withSkopeo = testWith('peers/skopeo', 'skopeo', 'container')
const isRunnable = whyNot === null && isOnPath('skopeo')
const PREPARE_MS = 180_000
const NOBODY_HAS = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
const folder = shelf()
const services: Service[] = []
let image: ProgramImage
let published: Published
let scene: Scene

beforeAll(async () => {
  if (!isRunnable) return
  mkdirSync(folder, { recursive: true })
  image = programImage(join(folder, 'image'), [{ '/etc/upper': 'from the upper layer\n' }])
  published = await publish(image.layout, join(folder, 'keep.car'), 'keep')
  scene = new Scene()
  scene.configure({ sources: [await startGateway(folder, [published.car], (service) => { services.push(service) })], registry: '127.0.0.1:0' })
  await scene.serve()
}, PREPARE_MS)
afterAll(async () => {
  for (const service of services) await service.end()
  if (isRunnable) await scene.end()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

const named = (cid: string): string => {
  const [, port = ''] = /"url":"http:\/\/127\.0\.0\.1:(\d+)","msg":"serving images as a registry"/.exec(scene.log) ?? []
  return `docker://localhost:${port}/ipfs/${cid}`
}
const copy = async (from: string, to: string): Promise<Outcome> =>
  await execute('skopeo', ['--insecure-policy', 'copy', '--src-tls-verify=false', '--preserve-digests', from, `oci:${to}:copied`])
const blobsOf = (layout: string): string[] => readdirSync(join(layout, 'blobs/sha256')).sort()

withSkopeo.each(['tag', 'digest'])('the image is copied by its %s, byte for byte', async (by) => {
  const to = join(scene.folder, `copied-by-${by}`)
  expect(await copy(`${named(published.cid)}${by === 'tag' ? ':latest' : `@${published.manifestDigest}`}`, to)).toMatchObject({ code: 0 })
  for (const name of blobsOf(to)) expect(createHash('sha256').update(readFileSync(join(to, 'blobs/sha256', name))).digest('hex')).toBe(name)
  const manifest = JSON.parse(readFileSync(join(to, 'blobs/sha256', published.manifestDigest.slice(7)), 'utf8')) as { layers: Array<{ digest: string }> }
  expect(manifest.layers.map(({ digest }) => digest)).toEqual(published.layers.map(({ digest }) => digest))
  expect(blobsOf(image.layout)).toEqual(expect.arrayContaining(blobsOf(to)))
}, PREPARE_MS)

withSkopeo('tags are listed, and what nobody has is not found', async () => {
  const tags = await execute('skopeo', ['list-tags', '--tls-verify=false', named(published.cid)])
  expect(JSON.parse(tags.stdout)).toMatchObject({ Tags: ['latest'] })
  const absent = await copy(`${named(NOBODY_HAS)}:latest`, join(scene.folder, 'none'))
  expect(absent).toMatchObject({ code: 1, stderr: expect.stringContaining('could not be fetched') })
}, PREPARE_MS)
