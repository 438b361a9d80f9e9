// The root of what we publish is the CID that Kubo gives to the same directory, so that anybody can pin it by adding it.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { beforeAll, expect, test } from '@jest/globals'
import { writeBigImage } from './big-image.ts'
import { images, inFolder, publishTo, readLayout } from './published.ts'

const kubo = spawnSync('ipfs', ['version', '--number']).status === 0
if (!kubo) process.stderr.write('kubo.test.ts: no ipfs (Kubo) on PATH; its tests are skipped\n')
const withKubo = kubo ? test : test.skip

/** `ipfs` with a repository of its own under the folder. */
function ipfs (folder: string, ...args: string[]): string {
  return execFileSync('ipfs', args, { encoding: 'utf8', env: { ...process.env, IPFS_PATH: join(folder, 'repo') }, stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

beforeAll(() => { expect(typeof withKubo).toBe('function') })

withKubo.each([
  ['keep', 1_048_576], ['estargz', 1_048_576], ['keep', 262_144], ['estargz', 262_144]
] as const)('%s, leaves of %i bytes: `ipfs add` of the layout with that chunker gives our root', async (format, leafBytes) => inFolder(async (folder) => {
  ipfs(folder, 'init', '--profile=unixfs-v1-2025', '--empty-repo')
  const source = join(folder, 'image.tar')
  await writeBigImage(source, 5_120_000)
  for (const image of [source, join(images, 'umoci-gzip.oci.tar')]) {
    const car = join(folder, 'image.car')
    const { cid } = await publishTo(car, image, { format, leafBytes })
    const layout = join(folder, `layout-${cid}`)
    for (const [path, bytes] of (await readLayout(car)).files) {
      await mkdir(dirname(join(layout, path)), { recursive: true })
      await writeFile(join(layout, path), bytes)
    }
    expect(ipfs(folder, 'add', '-r', '-Q', '--only-hash', `--chunker=size-${leafBytes}`, layout)).toBe(cid)
  }
}), 120_000)

withKubo('`ipfs dag import` takes the CAR, pins its roots and finds nothing missing', async () => inFolder(async (folder) => {
  ipfs(folder, 'init', '--profile=unixfs-v1-2025', '--empty-repo')
  const { cid, nerdctlCid } = await publishTo(join(folder, 'image.car'), join(images, 'umoci-gzip.oci.tar'))

  const said = ipfs(folder, 'dag', 'import', '--offline', join(folder, 'image.car'))
  expect(said).toContain(`Pinned root\t${cid}\tsuccess`)
  expect(said).toContain(`Pinned root\t${nerdctlCid ?? ''}\tsuccess`)
  expect(ipfs(folder, 'cat', '--offline', `/ipfs/${cid}/oci-layout`)).toBe('{"imageLayoutVersion":"1.0.0"}')
}), 120_000)
