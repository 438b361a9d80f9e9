// Power fails right after an answer: what was prepared has its directory, what was committed has its files. SQLite's log is in a
// steady state then, overwritten in place, so that its own fsync brings nothing else to the disk.
import { expect, test } from '@jest/globals'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { LossyDisk } from '../e2e/lossy-disk.ts'
import { BindLayers } from '../suites/bind-layers.ts'
import { nativeUnderTest } from '../suites/data-plane-fixture.ts'

const run = process.getuid?.() === 0 ? test : test.skip
if (process.getuid?.() !== 0) process.stderr.write('power cuts are skipped: they need root\n')

const CUTS = 3
const CALLS = 300 // several times what SQLite's log holds before it begins anew
const CONTENT = Buffer.alloc(20_000, 'content')

run(`what was answered is there after each of ${CUTS} power cuts`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cut-'))
  const disk = new LossyDisk(join(folder, 'disk'), join(folder, 'disk.img'), '192M')
  const native = await nativeUnderTest()
  const lost: string[] = []
  const open = async (): Promise<Snapshotters> => await Snapshotters.open({
    root: join(disk.folder, 'root'), layers: new BindLayers(), log: silentLog, settle: async (directory) => { await native.sync(directory) }
  })
  let snapshotters = await open()
  try {
    for (let cut = 0; cut < CUTS; cut++) {
      const snapshotter = await snapshotters.get('ipfs')
      for (let at = 0; at < CALLS; at++) {
        await snapshotter.prepare(`busy-${at}`, '', {})
        await snapshotter.remove(`busy-${at}`)
      }
      const prepare = async (key: string): Promise<string> => (await snapshotter.prepare(key, '', {}))[0]?.source ?? ''
      const committed = join(await prepare(`to-commit-${cut}`), 'content')
      writeFileSync(committed, CONTENT)
      await snapshotter.commit(`committed-${cut}`, `to-commit-${cut}`, {})
      const prepared = await Promise.all(['a', 'b', 'c'].map(async (letter) => await prepare(`${letter}-${cut}`)))
      disk.cut()
      await snapshotters.close().catch(() => {})
      await disk.powerOn()
      snapshotters = await open()

      const names = [...(await snapshotters.get('ipfs')).list([])].flat().map(({ name }) => name)
      const due = ['a', 'b', 'c', 'committed'].map((word) => `${word}-${cut}`)
      lost.push(...due.filter((name) => !names.includes(name)))
      lost.push(...prepared.filter((path) => !existsSync(path)))
      if (!existsSync(committed) || !readFileSync(committed).equals(CONTENT)) lost.push(committed)
    }
  } finally {
    await snapshotters.close().catch(() => {})
    await disk.unmount()
    rmSync(folder, { recursive: true, force: true })
  }
  expect(lost).toEqual([])
}, 120_000)
