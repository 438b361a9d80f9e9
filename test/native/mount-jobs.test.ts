// The one-shot mount jobs on real mounts: what they mount, what they undo, and the one line they say when they cannot.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { accessSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { NativeProgram } from '../../src/mount/native-program.ts'
import { nativeUnderTest } from '../suites/data-plane-fixture.ts'
import { PREPARE_MS } from '../suites/erofs-mounts.ts'

const why = whyNot()
if (why !== null) process.stderr.write(`mount job tests skipped: ${why}\n`)
const suite = why === null ? describe : describe.skip

suite('the mount jobs', () => {
  let native: NativeProgram
  let root: string
  const content = randomBytes(300_000)

  const folder = (name: string): string => { const path = join(root, name); mkdirSync(path, { recursive: true }); return path }
  const mountsBelow = (): string[] => readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter((line) => line.includes(root))

  function makeImage (): string {
    writeFileSync(join(folder('source'), 'file'), content)
    execFileSync('mkfs.erofs', [join(root, 'image'), join(root, 'source')], { stdio: 'ignore' })
    return join(root, 'image')
  }

  beforeEach(async () => { native = await nativeUnderTest(); root = mkdtempSync(join(tmpdir(), 'jobs-')) }, PREPARE_MS) // it may build it
  afterEach(async () => { await native.run(['umount-tree', root]); rmSync(root, { recursive: true }) })

  test('the server of jobs does many at once, says what failed, and comes back after it was killed', async () => {
    const others = serversOf(native.path) // of suites that this process ran before
    const ours = (): number[] => serversOf(native.path).filter((pid) => !others.includes(pid))
    const image = makeImage()
    const targets = Array.from({ length: 20 }, (_, at) => folder(`many-${at}`))
    const failing = native.job(['mount-erofs', join(root, 'source', 'file'), folder('none')]).catch((error: unknown) => error)
    await Promise.all(targets.map(async (target) => { await native.job(['mount-erofs', image, target]) }))
    for (const target of targets) expect(readFileSync(join(target, 'file'))).toEqual(content)
    expect(await failing).toMatchObject({ code: 'MOUNT_FAILED', details: { errno: 'EINVAL' }, message: expect.stringContaining('mount-erofs: EINVAL') })
    await expect(native.job(['sync', root])).rejects.toMatchObject({ message: expect.stringContaining('no job that `jobs` runs') })

    const servers = ours()
    expect(servers).toHaveLength(1)
    for (const pid of servers) process.kill(pid, 'SIGKILL')
    const outcomes = await Promise.allSettled(targets.map(async (target) => { await native.job(['umount', target]) }))
    for (const [at, outcome] of outcomes.entries()) if (outcome.status === 'rejected') await native.job(['umount', targets[at] ?? '']).catch(() => {})
    expect(mountsBelow()).toEqual([])
    expect(ours()).toHaveLength(1)
  }, PREPARE_MS) // sixty jobs of the kernel, each of which all mount namespaces of the other suites take part in

  test('an EROFS image from a file on ramfs, with its readahead', async () => {
    const image = makeImage()
    const ram = folder('ram')
    expect(await native.run(['mount-ramfs', ram])).toEqual({ mounted: ram })
    writeFileSync(join(ram, 'meta'), readFileSync(image))
    const target = folder('a b\tc')

    expect(await native.run(['mount-erofs', join(ram, 'meta'), target, '--readahead-kb', '1024'])).toEqual({ mounted: target, readAheadKb: 1024 })
    expect(readFileSync(join(target, 'file'))).toEqual(content)
    expect(() => { writeFileSync(join(target, 'x'), '') }).toThrow('EROFS')
  })

  test('an EROFS image on a loop device that goes with its mount', async () => {
    const image = makeImage()
    const target = folder('fs')
    const { device } = await native.run(['mount-loop', image, target])
    const backing = `/sys/block/${String(device).slice('/dev/'.length)}/loop/backing_file`

    expect(readFileSync(join(target, 'file'))).toEqual(content)
    expect(readFileSync(backing, 'utf8').trim()).toBe(image)
    expect(await native.run(['umount', target])).toEqual({ unmounted: target })
    expect(execFileSync('losetup', ['-j', image], { encoding: 'utf8' })).toBe('')
  })

  test('a sync says whether there was something to sync', async () => {
    expect(await native.run(['sync', root])).toEqual({ synced: root })
    const refused = { code: 'RESOURCE_EXHAUSTED', message: expect.stringContaining('ENOENT') as unknown }
    await expect(native.sync(join(root, 'nowhere'))).rejects.toMatchObject(refused)
  })

  test('an overlay of several layers, and a tree that is unmounted newest first', async () => {
    const image = makeImage()
    const [lower, other] = [folder('lower one'), folder('two')]
    await native.run(['mount-erofs', image, lower])
    await native.run(['mount-loop', image, other])
    const merged = folder('merged')
    await native.run(['mount-overlay', merged, '--lower', `${lower}:${other}`, '--upper', folder('up'), '--work', folder('work'), '-o', 'index=off'])
    writeFileSync(join(merged, 'file'), 'changed')
    expect(readdirSync(join(root, 'up'))).toEqual(['file'])

    expect(await native.run(['umount-tree', root])).toEqual({ unmounted: [merged, other, lower], lazy: [] })
    expect(mountsBelow()).toEqual([])
  })

  test('a busy mount below a tree is detached at last', async () => {
    const target = folder('busy')
    await native.run(['mount-ramfs', target])
    const keeper = spawnSync('sh', ['-c', 'cd "$1"; "$2" umount-tree "$3"', 'sh', target, native.path, root], { encoding: 'utf8' })

    expect(JSON.parse(keeper.stdout)).toEqual({ unmounted: [], lazy: [target] })
    expect(mountsBelow()).toEqual([])
  })

  test('stacked mounts on one directory all go', async () => {
    const target = folder('stack')
    for (let round = 0; round < 3; round++) await native.run(['mount-ramfs', target])

    expect(await native.run(['umount-tree', root])).toEqual({ unmounted: [target, target, target], lazy: [] })
  })

  test.each([
    ['a missing image', ['mount-erofs', 'nothing', 'target'], 'MOUNT_FAILED', /^mount-erofs: ENOENT: cannot mount erofs /],
    ['a file that is no image', ['mount-erofs', 'noise', 'target'], 'MOUNT_FAILED', /^mount-erofs: EINVAL: cannot mount erofs /],
    ['no image behind a loop', ['mount-loop', 'noise', 'target'], 'MOUNT_FAILED', /^mount-loop: EINVAL: cannot mount erofs \/dev\/loop/],
    ['a comma in the device', ['mount-erofs', 'noise', 'target', '--device', 'a,b'], 'MOUNT_FAILED', /^mount-erofs: EINVAL: a comma/],
    ['what is not mounted', ['umount', 'target'], 'MOUNT_FAILED', /^umount: EINVAL: cannot unmount /],
    ['no FUSE to abort', ['abort', 'target'], 'MOUNT_FAILED', /^abort: EINVAL: no FUSE file system/],
    ['an unknown job', ['dance'], 'MOUNT_FAILED', /^dance: EINVAL: ipfs-snapshotter-native JOB/],
    ['an unknown option', ['umount', 'target', '--force'], 'MOUNT_FAILED', /^umount: EINVAL: unknown or incomplete option --force/],
    ['a number that is none', ['mount-erofs', 'noise', 'target', '--readahead-kb', '12x'], 'MOUNT_FAILED', /--readahead-kb wants a number/]
  ])('says in one line that it refuses %s, and leaves nothing', async (_, args, code, message) => {
    writeFileSync(join(root, 'noise'), randomBytes(65_536))
    folder('target')
    const inside = args.map((word) => ['nothing', 'noise', 'target'].includes(word) ? join(root, word) : word)

    await expect(native.run(inside)).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
    expect(mountsBelow()).toEqual([])
    expect(execFileSync('losetup', ['-j', join(root, 'noise')], { encoding: 'utf8' })).toBe('')
  })

  test('a job that does not end in time is given up with ETIMEDOUT', async () => {
    await expect(native.run(['mount-ramfs', folder('x')], 0)).rejects.toMatchObject({ code: 'MOUNT_FAILED', details: { errno: 'ETIMEDOUT' } })
  })
})

function whyNot (): string | null {
  if (process.getuid?.() !== 0) return 'needs root to mount'
  try {
    accessSync('/dev/loop-control')
  } catch {
    return 'needs loop devices'
  }
  return spawnSync('mkfs.erofs', ['--help']).error === undefined ? null : 'needs mkfs.erofs of erofs-utils'
}

/** Processes of ours that serve jobs. */
function serversOf (path: string): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      const parent = Number(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')[1])
      return words[0] === path && words[1] === 'jobs' && parent === process.pid
    } catch {
      return false // it ended meanwhile
    }
  })
}
