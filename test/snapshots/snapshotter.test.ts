import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { chownSync, linkSync, lstatSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { NO_LAZY_LAYERS } from '../../src/snapshots/lazy-layers.ts'
import { mountsOf } from '../../src/snapshots/mount-options.ts'
import { mountPoints } from '../../src/snapshots/mount-table.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { mountsBelow } from '../suites/bind-layers.ts'
import { canMount } from '../suites/mounts.ts'
import { type SnapshotScene, snapshotScene } from '../suites/snapshot-scene.ts'

let scene: SnapshotScene
beforeEach(async () => { scene = await snapshotScene() })
afterEach(async () => { await scene.end() })
const asRoot = canMount ? test : test.skip

const option = (mounts: ReadonlyArray<{ options: readonly string[] }>, name: string): string =>
  mounts[0]?.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1) ?? ''

describe('directories', () => {
  test('have the modes of containerd\'s overlay snapshotter whatever the umask, and no temporary name stays', async () => {
    const before = process.umask(0o077)
    const [mount] = await scene.sn().prepare('a', '', {})
    process.umask(before)
    const upper = mount?.source ?? ''
    expect(statSync(upper).mode & 0o7777).toBe(0o755)
    expect(statSync(join(upper, '../work')).mode & 0o7777).toBe(0o711)
    expect(statSync(join(scene.root, 'snapshots')).mode & 0o7777).toBe(0o700)
    expect(scene.directories()).toEqual(['1'])
    await scene.sn().view('v', '', {})
    expect(readdirSync(join(scene.root, 'snapshots/ipfs/2'))).toEqual(['fs'])
  })

  asRoot('take the owner of the parent', async () => {
    const [mount] = await scene.sn().prepare('a', '', {})
    chownSync(mount?.source ?? '', 100, 200)
    await scene.sn().commit('c', 'a', {})
    const upper = option(await scene.sn().prepare('b', 'c', {}), 'upperdir')
    expect(statSync(upper)).toMatchObject({ uid: 100, gid: 200 })
  })

  test('leave nothing behind a refused request', async () => {
    await scene.sn().prepare('a', '', {})
    const before = scene.directories()
    await expect(scene.sn().prepare('a', '', {})).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(scene.sn().prepare('b', 'a', {})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(scene.sn().prepare('b', 'none', {})).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(scene.sn().prepare('', '', {})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(scene.sn().prepare('x'.repeat(5000), '', {})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(scene.directories()).toEqual(before)
  })

  test('go with their snapshot, and orphans with Cleanup; what is recorded or young stays', async () => {
    await scene.sn().prepare('stays', '', {})
    await scene.sn().prepare('goes', '', {})
    await scene.sn().remove('goes')
    for (const orphan of ['77', 'new-orphan', 'old-orphan', 'stranger']) mkdirSync(join(scene.root, 'snapshots/ipfs', orphan, 'fs'), { recursive: true })
    const racing = Array.from({ length: 20 }, async (_, at) => await scene.sn().prepare(`young-${at}`, '', {}))
    await scene.sn().cleanup()
    await Promise.all(racing)
    await scene.sn().cleanup()
    expect(scene.directories().sort()).toEqual(scene.all().map(({ name }) => name === 'stays' ? '1' : expect.stringMatching(/^\d+$/)))
    expect(scene.directories()).toHaveLength(21)
  })

  test('of a crash are cleaned at start, and their numbers are not used again', async () => {
    mkdirSync(join(scene.root, 'snapshots/ipfs/500/fs'), { recursive: true })
    mkdirSync(join(scene.root, 'snapshots/ipfs/new-crashed'))
    await scene.restart()
    const [mount] = await scene.sn().prepare('a', '', {})
    expect(mount?.source).toContain('/501/')
    await scene.sn().cleanup()
    expect(scene.directories()).toEqual(['501'])
  })

  asRoot('with somebody else\'s mount inside are never emptied', async () => {
    const precious = join(scene.root, 'precious')
    mkdirSync(precious)
    writeFileSync(join(precious, 'file'), 'precious')
    const orphan = join(scene.root, 'snapshots/ipfs/900/fs')
    mkdirSync(orphan, { recursive: true })
    execFileSync('mount', ['--bind', precious, orphan])
    scene.layers.unmount = async () => {}
    await scene.sn().cleanup()
    expect(readdirSync(precious)).toEqual(['file'])
    expect(scene.directories()).toContain('900')
    expect(scene.logged.join()).toContain('still mounted')
    execFileSync('umount', [orphan])
    await scene.sn().cleanup()
    expect(scene.directories()).toEqual([])
  })
})

describe('usage', () => {
  test('counts blocks and inodes, hard links once, and nothing behind symbolic links', async () => {
    const [mount] = await scene.sn().prepare('a', '', {})
    const upper = mount?.source ?? ''
    mkdirSync(join(upper, 'dir'))
    writeFileSync(join(upper, 'dir/file'), Buffer.alloc(100_000))
    symlinkSync('/usr', join(upper, 'link'))
    const expected = ['.', 'dir', 'dir/file', 'link'].reduce((sum, path) => sum + lstatSync(join(upper, path)).blocks * 512, 0)
    expect(expected).toBeGreaterThan(100_000)
    linkSync(join(upper, 'dir/file'), join(upper, 'again'))
    linkSync(join(upper, 'dir/file'), join(upper, 'dir/third'))
    expect(await scene.sn().usage('a')).toEqual({ size: expected, inodes: 4 })

    await scene.sn().commit('c', 'a', {})
    expect(await scene.sn().usage('c')).toEqual({ size: expected, inodes: 4 })
    await scene.sn().view('v', 'c', {})
    expect(await scene.sn().usage('v')).toEqual({ size: 0, inodes: 0 })
    await scene.sn().prepare('b', 'c', {})
    expect((await scene.sn().usage('b')).inodes).toBe(1)
    await expect(scene.sn().usage('none')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('of a wide tree ends', async () => {
    const [mount] = await scene.sn().prepare('a', '', {})
    for (let at = 0; at < 2000; at++) writeFileSync(join(mount?.source ?? '', `f${at}`), '')
    expect((await scene.sn().usage('a')).inodes).toBe(2001)
  })
})

describe('commit', () => {
  test('takes only its own labels and the recorded parent', async () => {
    await scene.sn().prepare('a', '', { x: '1' })
    await scene.sn().commit('base', 'a', { y: '2' })
    expect(scene.sn().stat('base').labels).toEqual({ y: '2' })
    await scene.sn().prepare('b', 'base', {})
    await expect(scene.sn().commit('top', 'b', {}, 'other')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await scene.sn().commit('top', 'b', {}, 'base')
    await scene.sn().prepare('c', '', {})
    await expect(scene.sn().commit('rebased', 'c', {}, 'base')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('of one key by two callers succeeds once', async () => {
    await scene.sn().prepare('a', '', {})
    const results = await Promise.allSettled([scene.sn().commit('one', 'a', {}), scene.sn().commit('two', 'a', {})])
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(scene.all()).toHaveLength(1)
  })
})

describe('mounts', () => {
  const paths = { upper: '/s/9/fs', work: '/s/9/work' }
  test('are binds for one directory and overlays with separate options for several', () => {
    expect(mountsOf({ ...paths, kind: 'active', parents: [] }, ['index=off'])).toEqual([{ type: 'bind', source: '/s/9/fs', options: ['rw', 'rbind'] }])
    expect(mountsOf({ ...paths, kind: 'view', parents: [] }, ['index=off'])).toEqual([{ type: 'bind', source: '/s/9/fs', options: ['ro', 'rbind'] }])
    expect(mountsOf({ ...paths, kind: 'view', parents: ['/s/2/fs'] }, ['index=off'])).toEqual([{ type: 'bind', source: '/s/2/fs', options: ['ro', 'rbind'] }])
    expect(mountsOf({ ...paths, kind: 'view', parents: ['/s/2/fs', '/s/1/fs'] }, ['index=off'])).toEqual([
      { type: 'overlay', source: 'overlay', options: ['lowerdir=/s/2/fs:/s/1/fs', 'index=off'] }])
    expect(mountsOf({ ...paths, kind: 'active', parents: ['/s/2/fs'] }, ['userxattr'])).toEqual([
      { type: 'overlay', source: 'overlay', options: ['workdir=/s/9/work', 'upperdir=/s/9/fs', 'lowerdir=/s/2/fs', 'userxattr'] }])
  })

  test('of a key are what Prepare answered; committed snapshots have none', async () => {
    await scene.sn().prepare('a', '', {})
    await scene.sn().commit('base', 'a', {})
    const mounts = await scene.sn().prepare('b', 'base', {})
    expect(await scene.sn().mounts('b')).toEqual(mounts)
    await scene.restart()
    expect(await scene.sn().mounts('b')).toEqual(mounts)
    await expect(scene.sn().mounts('base')).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
    await expect(scene.sn().mounts('none')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('are read from the kernel\'s table with its escapes', () => {
    expect(mountPoints('1 2 0:1 / /a\\040b\\134c rw - ext4 x rw\n2 3 0:2 / /d rw - x y z\n')).toEqual(['/a b\\c', '/d'])
  })
})

describe('plugin names', () => {
  test('have separate state on one root, found again after a restart', async () => {
    await (await scene.snapshotters().get('stargz')).prepare('a', '', {})
    await scene.sn().prepare('a', '', {})
    await scene.sn().prepare('b', '', {})
    await scene.restart()
    expect(scene.snapshotters().names).toEqual(['ipfs', 'stargz'])
    expect([...(await scene.snapshotters().get('stargz')).list([])].flat().map(({ name }) => name)).toEqual(['a'])
    await (await scene.snapshotters().get('stargz')).remove('a')
    expect(scene.all()).toHaveLength(2)
  })

  test.each(['', '.', '..', '../x', 'a/b', '-x', 'x'.repeat(65), 'a b'])('refuse %j', async (name) => {
    await expect(scene.snapshotters().get(name)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('end at a limit, and with the snapshotter', async () => {
    for (let at = 1; at < 16; at++) await scene.snapshotters().get(`name-${at}`)
    await expect(scene.snapshotters().get('one-more')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await scene.snapshotters().close()
    await expect(scene.snapshotters().get('late')).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  })

  const unspeakable = ['relative', '/with:colon', '/with,comma', '/with space', '/with\\backslash']
  test.each(unspeakable)('need a root that overlay options can spell, not %j', async (root) => {
    await expect(Snapshotters.open({ root, layers: NO_LAZY_LAYERS, log: silentLog })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })
})

asRoot('a second snapshotter on the same root is refused and disturbs nothing', async () => {
  const chainId = scene.layer('base')
  await expect(scene.sn().prepare('key', '', { 'containerd.io/snapshot.ref': chainId })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  const before = mountsBelow(scene.root)
  await expect(Snapshotters.open({ root: scene.root, layers: scene.layers, log: silentLog })).rejects.toMatchObject({ code: 'ENVIRONMENT' })
  expect(mountsBelow(scene.root)).toEqual(before)
  expect(before).toHaveLength(1)
})

test('a snapshot is committed when its files are on the disk, not before, and not when they are not', async () => {
  const { root, layers } = scene
  await scene.sn().prepare('a', '', {})
  await scene.snapshotters().close()
  const settled: string[] = []
  let answer = (): Error | null => null
  const snapshotters = await Snapshotters.open({
    root, layers, log: silentLog, settle: async (directory) => {
      settled.push(`${directory} ${(await snapshotters.get('ipfs')).stat('a').kind}`)
      const error = answer()
      if (error !== null) throw error
    }
  })
  const snapshotter = await snapshotters.get('ipfs')
  answer = () => new SnapshotterError('RESOURCE_EXHAUSTED', 'the disk did not take it')
  await expect(snapshotter.commit('c', 'a', {})).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' })
  expect(snapshotter.stat('a').kind).toBe('active')
  expect(() => snapshotter.stat('c')).toThrow(/does not exist/)

  answer = () => null
  await snapshotter.commit('c', 'a', {})
  expect(snapshotter.stat('c').kind).toBe('committed')
  expect(settled).toEqual(Array(2).fill(`${join(root, 'snapshots/ipfs/1/fs')} active`))
  await snapshotters.close()
})

test('a record whose directory never reached the disk is forgotten at start, and one that was committed is not', async () => {
  for (const key of ['a', 'b', 'c']) await scene.sn().prepare(key, '', {})
  await scene.sn().commit('base', 'a', {})
  await scene.sn().view('look', 'base', {})
  await scene.restart(scene.layers, () => { for (const id of [1, 2, 4]) rmSync(join(scene.root, 'snapshots/ipfs', String(id)), { recursive: true }) })

  expect(scene.all().map(({ name }) => name).sort()).toEqual(['base', 'c'])
  expect(scene.logged.filter((line) => line.includes('forgotten'))).toHaveLength(2)
  await expect(scene.sn().prepare('b', 'base', {})).rejects.toThrow(/ENOENT/) // nothing is built on what is gone
})
