// Images for several platforms, also out of every containerd that is here, by its API: in both formats, pulled again for each
// platform, under every spelling. And what cannot be published from there: one line each, no file left.
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { isOnPath } from '../peers/tools.ts'
import { nerdctl, startClientNode } from './client-node.ts'
import { command } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, shelf } from './harness.ts'
import { sha256 } from '../fakes/test-image.ts'
import { hashLines, type ProgramImage, programImage } from './program-image.ts'
import { run } from './run.ts'

interface Many extends Published {
  readonly references: { readonly nerdctl: string, readonly ctr: string }
  readonly indexDigest: string
  readonly images: ReadonlyArray<{ readonly platform: string, readonly manifestDigest: string, readonly layers: Published['layers'] }>
}

const NAME = 'docker.io/library/many:latest'
const [HERE, ELSEWHERE] = process.arch === 'arm64' ? ['arm64', 'amd64'] : ['amd64', 'arm64']
const folder = shelf()
const versions = containerdVersions()
const layout = join(folder, 'layout')
const archive = join(folder, 'many.tar')
let here: ProgramImage
let scene: Scene

beforeAll(async () => {
  await preparePrograms()
  here = programImage(join(folder, 'here'), [{ '/etc/of': `of ${HERE}\n` }], { architecture: HERE })
  const elsewhere = programImage(join(folder, 'elsewhere'), [{ '/etc/of': `of ${ELSEWHERE}\n` }], { architecture: ELSEWHERE })
  const manifests = [here, elsewhere].flatMap(({ layout: one }) => {
    cpSync(one, layout, { recursive: true })
    return (JSON.parse(readFileSync(join(one, 'index.json'), 'utf8')) as { manifests: object[] }).manifests
  })
  const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests }
  const digest = put(index)
  const entry = { mediaType: index.mediaType, digest, size: JSON.stringify(index).length, annotations: { 'io.containerd.image.name': NAME } }
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ ...index, manifests: [entry] }))
  execFileSync('tar', ['-C', layout, '-cf', archive, '.'])
}, PREPARE_MS)
afterEach(async () => { await scene.end() })
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

function put (document: object): string {
  const bytes = Buffer.from(JSON.stringify(document))
  writeFileSync(join(layout, 'blobs/sha256', sha256(bytes).slice(7)), bytes)
  return sha256(bytes)
}

async function start (binaries: (typeof versions)[number], ownContent = true): Promise<void> {
  scene = new Scene()
  scene.configure({})
  await scene.serve()
  await scene.startContainerd({ binaries, ownContent })
}

/** The line that a publication from containerd fails with; it leaves no file. */
async function refusal (source: string, ...more: readonly string[]): Promise<string> {
  const out = join(scene.folder, 'out')
  execFileSync('mkdir', ['-p', out])
  const { code, stdout, stderr } = await command(['publish', source, '--config', scene.config, '--car', join(out, 'x.car'), ...more])
  const lines = stderr.trim().split('\n').filter((line) => !line.startsWith('{'))
  expect({ code, stdout, lines: lines.length, files: readdirSync(out) }).toEqual({ code: 1, stdout: '', lines: 1, files: [] })
  return lines[0] ?? ''
}

/** containerd 2 copies an index with the documents of all its platforms; layers of others are nobody's who asks this node. */
async function expectOtherDocuments (host: string, { cid, images: [, other] }: Many): Promise<void> {
  const get = async (path: string): Promise<Response> => await fetch(`http://${host.replace('localhost', '127.0.0.1')}/v2/ipfs/${cid}/${path}`)
  const read = async (path: string): Promise<Buffer> => {
    const answer = await get(path)
    expect([path, answer.status]).toEqual([path, 200])
    return Buffer.from(await answer.arrayBuffer())
  }
  const manifest = await read(`manifests/${other?.manifestDigest ?? ''}`)
  expect(sha256(manifest)).toBe(other?.manifestDigest)
  const { config: { digest } } = JSON.parse(manifest.toString()) as { config: { digest: string } }
  const config = await read(`blobs/${digest}`)
  expect(sha256(config)).toBe(digest)
  expect(JSON.parse(config.toString())).toMatchObject({ architecture: ELSEWHERE })
  expect((await get(`blobs/${other?.layers.at(-1)?.digest ?? ''}`)).status).toBe(404)
  expect((await get(`manifests/${digest}`)).status).toBe(404)
}

for (const binaries of versions.length > 0 ? versions : [{ version: 'none', directory: '' }]) {
  run(`all platforms go out of containerd and come back one by one (containerd ${binaries.version})`, async () => {
    await start(binaries)
    await scene.containerd.ctr('images', 'import', '--all-platforms', '--no-unpack', archive)
    for (const format of ['estargz', 'keep'] as const) {
      const source = `containerd://default/${format === 'keep' ? 'many' : NAME}`
      const many = await publish(source, join(scene.folder, `${format}.car`), format, '--all-platforms', '--config', scene.config) as Many
      expect(many.images.map(({ platform }) => platform)).toEqual([`linux/${HERE}`, `linux/${ELSEWHERE}`])
      expect(many.reference).toBe(`ipfs://${many.cid}@${many.indexDigest}`)

      const gateway = await scene.gateway(many.car)
      for (const { platform, manifestDigest } of many.images) {
        const { name, manifestDigest: pulled, layers } = await scene.pull(many.reference, '--gateway', gateway, '--platform', platform)
        expect([name, pulled]).toEqual([`ipfs:0/${many.cid}@${manifestDigest}`, manifestDigest])
        await scene.withMounted(layers.at(-1)?.chainId ?? '', async (directory) => {
          expect(readFileSync(join(directory, 'etc/of'), 'utf8')).toBe(`of ${platform.slice('linux/'.length)}\n`)
        })
      }
      expect(hashLines(await scene.run(`ipfs:0/${many.cid}@${many.images[0]?.manifestDigest ?? ''}`, '/bin/e2e', 'sha', '/etc/of')))
        .toEqual(here.expected(['/etc/of']))
    }
    const one = await publish('containerd://default/many', join(scene.folder, 'one.car'), 'keep', '--config', scene.config)
    expect(one.reference).toMatch(new RegExp(`@${one.manifestDigest}$`))
  }, 180_000)

  run(`clients pull it under every spelling (containerd ${binaries.version})`, async () => {
    const many = await publish(layout, join(folder, `spelled-${binaries.version}.car`), 'estargz', '--all-platforms') as Many
    const gateway = await GatedGateway.over(many.car)
    try {
      const node = await startClientNode({ binaries, gateway: gateway.url }, (started) => { scene = started })
      await scene.containerd.ctr('images', 'pull', '--hosts-dir', node.hosts, '--snapshotter', scene.plugin, many.references.ctr)
      expect(hashLines(await scene.run(many.references.ctr, '/bin/e2e', 'sha', '/etc/of'))).toEqual(here.expected(['/etc/of']))
      await expectOtherDocuments(node.host, many)
      if (!isOnPath('nerdctl')) return
      const ran = await nerdctl(node, 'run', '--rm', '--net', 'none', many.references.nerdctl, '/bin/e2e', 'sha', '/etc/of')
      expect(hashLines(ran)).toEqual(here.expected(['/etc/of']))
    } finally {
      await gateway.close()
    }
  }, 120_000)

  run(`what was pulled lazily is published whole where our content store serves (containerd ${binaries.version})`, async () => {
    await start(binaries, false)
    const published = await publish(here.layout, join(folder, `served-${binaries.version}.car`))
    const { name } = await scene.pull(published.reference, '--gateway', await scene.gateway(published.car))
    const again = await publish(`containerd://default/${name}`, join(scene.folder, 'again.car'), 'keep', '--config', scene.config)

    expect(again.layers.map(({ digest }) => digest)).toEqual(published.layers.map(({ digest }) => digest))
    expect(again.manifestDigest).toBe(published.manifestDigest)
  }, 120_000)

  run(`what cannot be published from containerd is one line (containerd ${binaries.version})`, async () => {
    await start(binaries)
    await scene.containerd.ctr('images', 'import', '--all-platforms', '--no-unpack', archive)
    expect(await refusal('containerd://default/none')).toBe(
      'NOT_FOUND: containerd has no image none in namespace default; `ctr --namespace default images ls -q` lists what is there')
    expect(await refusal('containerd://other/many')).toMatch(
      /^NOT_FOUND: containerd has no image many in namespace other; there is no such namespace, but (.*\b)?default\b/)
    expect(await refusal('containerd://many')).toMatch(/^INVALID_ARGUMENT: containerd:\/\/many names no namespace and image; write containerd:\/\//)
    expect(await refusal('containerd://default/many', '--containerd', join(scene.folder, 'gone.sock'))).toMatch(
      /^CONTAINERD: cannot reach containerd at \S*gone\.sock \(.*\); is it running\?$/)
    expect(await refusal('containerd://default/many', '--platform', 'linux/s390x')).toBe(
      `PLATFORM_MISSING: containerd://default/${NAME}: no image for linux/s390x; it has linux/amd64, linux/arm64`)

    // Pulled lazily: containerd has documents, and no layer.
    const published = await publish(here.layout, join(folder, `lazy-${binaries.version}.car`))
    const { name } = await scene.pull(published.reference, '--gateway', await scene.gateway(published.car))
    expect(await refusal(`containerd://default/${name}`)).toBe(
      `NOT_OCI: containerd://default/${name} has no blob ${published.layers[0]?.digest ?? ''}, a layer of ${published.manifestDigest}, ` +
      `nor 1 more of its 2 layers; it was pulled lazily, or for other platforms; it is on IPFS already: ipfs://${published.cid}`)
    await scene.removeImage(name)

    const lost = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { manifests: [{ digest: string }] }
    await scene.containerd.ctr('content', 'rm', lost.manifests[0].digest)
    expect(await refusal('containerd://default/many')).toMatch(
      /^NOT_OCI: containerd:\/\/\S+ holds no image \(1 blobs are missing\); .*`ctr --namespace default content fetch docker\.io\/library\/many:latest`/)
  }, 120_000)
}
