// Kubo as a peer: it gives our bytes the CIDs we print, takes our CARs whole, gives the layout back, and its trustless
// gateway is a source for inspect, verify and pull.
import { afterAll, beforeAll, describe, expect } from '@jest/globals'
import { execFileSync, spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { COMMAND, command, commandJson, execute } from '../e2e/command.ts'
import { publish, type Published, Scene, shelf } from '../e2e/harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from '../e2e/program-image.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { isOnPath, testWith } from './tools.ts'
import { Kubo } from './kubo.ts'

const withKubo = testWith('peers/kubo', 'ipfs')
const withSkopeo = testWith('peers/kubo', 'ipfs', 'skopeo')
const withContainer = testWith('peers/kubo', 'ipfs', 'container')
const FORMATS = ['keep', 'estargz'] as const
const FILES = 3
const FILE_BYTES = 1_300_000 // several leaves in each layer
const PATHS = Array.from({ length: FILES }, (_, at) => `/data/${at}`)
const PREPARE_MS = 180_000
const IMPORTERS = [
  ['--cid-version=0', '--raw-leaves=false'], ['--cid-version=1', '--raw-leaves=false', '--chunker=size-65536'], ['--chunker=size-262144', '--max-file-links=3'],
  ['--chunker=rabin'], ['--chunker=rabin-16384-65536-131072'], ['--chunker=buzhash'], ['--trickle', '--chunker=size-32768'], ['--inline', '--inline-limit=64'],
  ['--max-directory-links=1', '--max-hamt-fanout=8'], ['--preserve-mode', '--preserve-mtime', '--raw-leaves=false'], ['--chunker=size-2000000']
]
const ABSENT = 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude'

interface Verified { readonly manifestDigest: string, readonly cid: string }

describe('Kubo', () => {
  const folder = shelf()
  const published = new Map<string, Published & { readonly nerdctlCid: string | null }>()
  let image: ProgramImage
  let kubo: Kubo
  let gateway = ''

  beforeAll(async () => {
    if (!isOnPath('ipfs')) return
    image = programImage(join(folder, 'image'), [randomFiles(FILES, FILE_BYTES)])
    for (const format of FORMATS) {
      published.set(format, await publish(image.layout, join(folder, `${format}.car`), format) as Published & { nerdctlCid: string | null })
    }
    kubo = await Kubo.create(join(folder, 'kubo'))
    gateway = await kubo.start('--offline')
    await kubo.import(join(folder, 'keep.car'), join(folder, 'estargz.car'))
  }, PREPARE_MS)
  afterAll(async () => {
    await (kubo as Kubo | undefined)?.end()
    rmSync(folder, { recursive: true, force: true })
  })

  const of = (format: string): Published & { readonly nerdctlCid: string | null } => {
    const found = published.get(format)
    if (found === undefined) throw new Error(`${format} was not published`)
    return found
  }

  withKubo('adds the same directory under the CID that publish prints', async () => {
    expect(await kubo.ipfs('add', '--recursive', '--quieter', image.layout)).toBe(of('keep').cid)
  })

  withKubo.each(FORMATS)('takes our %s CAR: every root is pinned and nothing below it is missing', async (format) => {
    const { cid, nerdctlCid, car } = of(format)
    const roots = [cid, ...nerdctlCid === null ? [] : [nerdctlCid]]
    const blocks = (await kubo.ipfs('dag', 'import', '--pin-roots=false', '--stats', car)).match(/Imported (\d+) blocks/)?.[1]

    expect((await kubo.import(car)).sort()).toEqual(roots.sort())
    // Walks the whole graph; a block that the node lacks is an error.
    const reached = new Set((await Promise.all(roots.map(async (root) => await kubo.ipfs('refs', '--recursive', '--unique', root)))).join('\n').split('\n'))
    const named = format === 'keep' ? [] : await namedByUrls(format)
    expect(new Set([...reached, ...roots, ...named].filter((line) => line !== '')).size).toBe(Number(blocks))
  })

  /** Blobs that only the JSON descriptors' `urls` lead to: the walk through links does not see them. */
  async function namedByUrls (format: string): Promise<string[]> {
    const root = await kubo.ipfs('cat', of(format).nerdctlCid ?? '')
    return [...root.matchAll(/ipfs:\/\/(\w+)/g)].map(([, cid]) => cid ?? '')
  }

  withKubo.each(FORMATS)('gives the %s layout back as it was published', async (format) => {
    const got = join(folder, `got-${format}`)
    await kubo.ipfs('get', '--output', got, of(format).cid)

    if (format === 'keep') execFileSync('diff', ['--recursive', got, image.layout])
    const blobs = readdirSync(join(got, 'blobs', 'sha256'))
    expect(blobs).toContain(of(format).manifestDigest.slice(7))
    expect(blobs.map((name) => digestOf(readFileSync(join(got, 'blobs', 'sha256', name))))).toEqual(blobs.map((name) => `sha256:${name}`))
    const chunker = format === 'keep' ? 'size-1048576' : 'size-262144'
    expect(await kubo.ipfs('add', '--recursive', '--quieter', `--chunker=${chunker}`, got)).toBe(of(format).cid)
  })

  withSkopeo.each(FORMATS)('and skopeo reads the %s layout that came back', async (format) => {
    const got = join(folder, `skopeo-${format}`)
    await kubo.ipfs('get', '--output', got, of(format).cid)
    const { code, stdout, stderr } = await execute('skopeo', ['inspect', `oci:${got}`])
    expect([code, stderr]).toEqual([0, ''])
    expect(JSON.parse(stdout)).toMatchObject({ Digest: of(format).manifestDigest, Layers: of(format).layers.map(({ digest }) => digest) })
    const copied = await execute('skopeo', ['copy', `oci:${got}`, `oci:${got}-copy`])
    expect([copied.code, copied.stderr]).toEqual([0, ''])
  })

  withKubo.each(FORMATS)('serves the %s image to inspect and verify', async (format) => {
    const { reference, manifestDigest, cid } = of(format)
    expect(await commandJson<Verified>('inspect', reference, '--gateway', gateway)).toMatchObject({ cid, manifestDigest })
    expect(await commandJson<Verified>('verify', reference, '--gateway', gateway)).toMatchObject({ cid, manifestDigest })
  })

  withKubo('serves the JSON descriptor that nerdctl reads', async () => {
    const { nerdctlCid, manifestDigest } = of('estargz')
    expect(await commandJson<Verified>('verify', `ipfs://${nerdctlCid ?? ''}`, '--gateway', gateway)).toMatchObject({ cid: nerdctlCid, manifestDigest })
  })

  withKubo('as a gateway gets what was published while publish looks at it, and then an image starts from there', async () => {
    const car = join(folder, 'later.car')
    const { layout } = programImage(join(folder, 'later'), [randomFiles(FILES, FILE_BYTES)])
    const publishing = new Promise<{ readonly said: string, readonly printed: string }>((resolve, reject) => {
      const child = spawn(COMMAND, ['publish', layout, '--car', car, '--json', '--verify-via', gateway, '--verify-all'], { stdio: ['ignore', 'pipe', 'pipe'] })
      let [said, printed, imported] = ['', '', false]
      child.stdout.setEncoding('utf8').on('data', (text: string) => { printed += text })
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text
        if (imported || !said.includes('asking again')) return
        imported = true
        kubo.import(car).catch(reject)
      })
      child.once('close', () => { resolve({ said, printed }) })
    })
    const { said, printed } = await publishing
    const { verifyVia: [view] } = JSON.parse(printed) as { verifyVia: Array<{ starts: boolean, blocks: number, found: number, missing: object[] }> }

    expect(said).toMatch(/lacks \d+ of \d+ blocks \(ROOT_NOT_FOUND: /)
    expect(view).toMatchObject({ starts: true, found: view?.blocks, missing: [] })
  }, PREPARE_MS)

  withContainer('is the only source of a pull, and the container reads what was published', async () => {
    const scene = await Scene.start({ sources: [gateway] })
    try {
      for (const format of FORMATS) {
        const { name } = await scene.pull(of(format).reference)
        expect(hashLines(await scene.run(name, '/bin/e2e', 'sha', ...PATHS))).toEqual(image.expected(PATHS))
        await scene.removeImage(name)
      }
    } finally {
      await scene.end()
    }
  }, PREPARE_MS)

  // An image for each, since a layer that is in the cache is not asked for again.
  withContainer('whatever its importer, an image that it added runs from its gateway, and one under another hash is refused', async () => {
    const scene = await Scene.start({ sources: [gateway] })
    try {
      for (const [at, flags] of IMPORTERS.entries()) {
        const { layout, expected } = programImage(join(folder, `import-${at}`), [randomFiles(FILES, FILE_BYTES)])
        const cid = await kubo.ipfs('add', '--recursive', '--quieter', ...flags, layout)
        const { name } = await scene.pull(`ipfs://${cid}`)
        expect([flags, hashLines(await scene.run(name, '/bin/e2e', 'sha', ...PATHS))]).toEqual([flags, expected(PATHS)])
        expect(await commandJson<Verified>('verify', `ipfs://${cid}`, '--gateway', gateway)).toMatchObject({ manifestDigest: expect.any(String) })
        await scene.removeImage(name)
      }
      const other = await kubo.ipfs('add', '--recursive', '--quieter', '--hash=blake2b-256', image.layout)
      expect(await scene.tryPull(`ipfs://${other}`)).toMatchObject({ code: 1, stderr: expect.stringMatching(/^CID_UNSUPPORTED: .*only full sha2-256/m) })
    } finally {
      await scene.end()
    }
  }, PREPARE_MS)

  withKubo('says ROOT_NOT_FOUND for what it does not have, and once it is unpinned and collected', async () => {
    const absent = await command(['inspect', `ipfs://${ABSENT}`, '--gateway', gateway])
    expect(absent).toMatchObject({ code: 1, stderr: expect.stringMatching(/^ROOT_NOT_FOUND: .*404.*not pinned/) })

    const other = await Kubo.create(join(folder, 'forgetful'))
    const url = await other.start('--offline')
    try {
      await other.import(of('keep').car)
      const inspect = async () => await command(['inspect', of('keep').reference, '--gateway', url])
      expect((await inspect()).code).toBe(0)
      await other.ipfs('pin', 'rm', of('keep').cid)
      await other.ipfs('repo', 'gc')
      expect(await inspect()).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^ROOT_NOT_FOUND: .*404.*not pinned/) })
    } finally {
      await other.end()
    }
  })

  withKubo('says so within the time limit when the gateway searches the network in vain', async () => {
    const searching = await Kubo.create(join(folder, 'searching'), { fetches: true })
    const url = await searching.start()
    try {
      const { code, stderr } = await command(['inspect', `ipfs://${ABSENT}`, '--gateway', url], 30_000)
      expect(code).toBe(1)
      expect(stderr.trim().split('\n')).toHaveLength(1)
      expect(stderr).toMatch(/^GATEWAY_TIMEOUT: .*no answer for \d+ ms.*not pinned/)
    } finally {
      await searching.end()
    }
  })
})
