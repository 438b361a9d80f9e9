// Files served, mounted, read, unmounted and removed again and again: descriptors, threads and memory of guardian, worker and
// control come back to where they began.
import { describe, expect, test } from '@jest/globals'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { layoutData } from '../../src/layer/data-layout.ts'
import { erofsDriver } from '../../src/mount/erofs-drivers.ts'
import { placeChunks } from '../../src/layer/placed-chunks.ts'
import { mountsBelow } from '../suites/bind-layers.ts'
import { DataPlaneFixture, dataPlaneSkipReason, sha256Of, until } from '../suites/data-plane-fixture.ts'
import { described } from '../suites/driver-scene.ts'
import { layerFrom } from '../suites/layer-from-tree.ts'

if (dataPlaneSkipReason !== null) process.stderr.write(`leak tests skipped: ${dataPlaneSkipReason}\n`)
const suite = dataPlaneSkipReason === null ? describe : describe.skip

const MOUNTS = Number(process.env['IPFS_SNAPSHOTTER_MOUNTS'] ?? 1000)
const WARM_UP = 20
const GROWTH_KIB = 2048 // of 200 rounds and of 1000 alike: what a round leaves would be more

interface Footprint { readonly files: string[], readonly threads: number, readonly kibibytes: number }

function footprintOf (pid: number): Footprint {
  const folder = `/proc/${pid}/fd`
  const files = readdirSync(folder).flatMap((fd) => existsSync(join(folder, fd)) || pid !== process.pid ? [readlinkSync(join(folder, fd))] : [])
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const number = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1])
  return { files: files.map((file) => file.replace(/\d+/g, 'N')).sort(), threads: number('Threads'), kibibytes: number('RssAnon') + number('RssShmem') }
}

suite('mounting and unmounting', () => {
  test(`${MOUNTS} times leaves no descriptor, thread or memory behind`, async () => {
    await using fixture = await DataPlaneFixture.start()
    const { plane, native, state } = fixture
    const driver = erofsDriver({ state, dataPlane: plane, native })
    const content = randomBytes(150_000)
    const layer = described(layerFrom({ kind: 'directory', entries: { file: { kind: 'file', content } } }))
    const layout = layoutData(layer.index)
    const chunks = placeChunks(layer.index, layout)
    plane.onFetch(async (name, runs) => {
      for (const chunk of runs.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at))) {
        await plane.supply(name, 'raw', chunk, 1, layer.bytesAt(chunks[chunk]?.dataOffset ?? 0, chunks[chunk]?.size ?? 0))
      }
    })
    const target = join(state, 'target')
    mkdirSync(target)
    const { pid = 0, guardianPid = 0 } = plane.worker ?? {}
    const before: Footprint[] = []
    for (let round = 0; round < WARM_UP + MOUNTS; round++) {
      if (round === WARM_UP) before.push(...[guardianPid, pid, process.pid].map(footprintOf))
      await driver.mount({ index: layer.index, layout, chunks, digest: Buffer.alloc(32, 5), cacheFolder: join(state, 'cache') }, target)
      expect(sha256Of(await readFile(join(target, 'file')))).toBe(sha256Of(content))
      await driver.unmount(target)
    }
    await until(() => plane.unacknowledgedBytes === 0)
    const after = [guardianPid, pid, process.pid].map(footprintOf)
    for (const [index, name] of ['guardian', 'worker', 'control'].entries()) {
      const [was, is] = [before[index], after[index]]
      process.stdout.write(`${name} after ${MOUNTS} mounts: ${was?.files.length} → ${is?.files.length} descriptors, ` +
        `${was?.threads} → ${is?.threads} threads, ${was?.kibibytes} → ${is?.kibibytes} KiB\n`)
      expect(is?.files).toEqual(was?.files)
      if (name === 'control') continue // its heap is the test runner's
      expect(is?.threads).toBe(was?.threads)
      if (process.env['IPFS_SNAPSHOTTER_NATIVE'] === undefined) expect((is?.kibibytes ?? 0) - (was?.kibibytes ?? 0)).toBeLessThan(GROWTH_KIB)
    }
    expect(mountsBelow(target)).toEqual([])
    expect(await plane.list()).toEqual([])
    expect(readdirSync(join(state, 'meta'))).toEqual([])
  }, 600_000)
})
