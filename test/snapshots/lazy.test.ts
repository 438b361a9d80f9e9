import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { SnapshotterError } from '../../src/base/errors.ts'
import type { Mount } from '../../src/snapshots/snapshot.ts'
import { BindLayers, isMounted, mountsBelow } from '../suites/bind-layers.ts'
import { canMount, withMounts } from '../suites/mounts.ts'
import { REF, type SnapshotScene, snapshotScene } from '../suites/snapshot-scene.ts'

let scene: SnapshotScene
beforeEach(async () => { scene = await snapshotScene() })
afterEach(async () => { await scene.end() })
const suite = canMount ? describe : describe.skip

const prepare = async (chainId: string, parent = '', labels = {}): Promise<Mount[]> =>
  await scene.sn().prepare(`extract ${Math.trunc(performance.now() * 1000)} ${chainId}`, parent, { [REF]: chainId, ...labels })
/** Asks as containerd does after AlreadyExists; answers the snapshot's backend name. */
const target = (chainId: string, parent: string): string => {
  const found = [...scene.sn().list([`labels."${REF}"==${chainId},parent==${JSON.stringify(parent)},kind==committed`])].flat()
  expect(found).toHaveLength(1)
  expect(found[0]).toMatchObject({ kind: 'committed', parent, labels: { [REF]: chainId } })
  return found[0]?.name ?? ''
}
const lazily = async (chainId: string, parent = ''): Promise<string> => {
  await expect(prepare(chainId, parent)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  return target(chainId, parent)
}
const mountPointOf = (mounts: readonly Mount[]): string => mounts[0]?.options.find((text) => text.startsWith('lowerdir='))?.slice(9).split(':')[0] ?? ''

suite('the remote handshake', () => {
  test('commits the layer under the chain ID\'s label and exact parent, and the key does not survive', async () => {
    const base = await lazily(scene.layer('base'))
    const upper = await lazily(scene.layer('upper'), base)
    expect(scene.all().map(({ name }) => name)).toEqual([base, upper])
    expect(scene.sn().stat(upper).labels).toMatchObject({ 'containerd.io/snapshot/test.lazy': 'yes', 'containerd.io/snapshot/ipfs.lazy': 'true' })
    expect(await scene.sn().usage(upper)).toEqual({ size: 0, inodes: 0 })
    expect(scene.layers.requests.map(({ parentChain }) => parentChain)).toEqual([null, base])

    await withMounts(await scene.sn().prepare('container', upper, {}), join(scene.root, 'rootfs'), (root) => {
      expect(readFileSync(join(root, 'base'), 'utf8')).toBe('content of base\n')
      expect(readFileSync(join(root, 'upper'), 'utf8')).toBe('content of upper\n')
      writeFileSync(join(root, 'base'), 'changed')
    })
    await withMounts(await scene.sn().view('view', base, {}), join(scene.root, 'rootfs'), (root) => {
      expect(readFileSync(join(root, 'base'), 'utf8')).toBe('content of base\n')
      expect(() => writeFileSync(join(root, 'new'), '')).toThrow(/EROFS/)
    })
  })

  test('answers a second namespace from what is mounted, and mounts again on another parent', async () => {
    const baseId = scene.layer('base'); const upperId = scene.layer('upper')
    const base = await lazily(baseId)
    await lazily(upperId, base)
    await lazily(baseId)
    await lazily(upperId, base)
    expect(scene.layers.requests).toHaveLength(2)

    await scene.sn().prepare('eager', '', {})
    await scene.sn().commit('other/7/base', 'eager', { [REF]: baseId })
    const onEager = await lazily(upperId, 'other/7/base')
    expect(onEager).not.toBe(target(upperId, base))
    expect(scene.layers.requests).toHaveLength(3)
    // Of the two that stand for the base, the lazy one is listed first.
    expect([...scene.sn().list([`labels."${REF}"==${baseId}`])].flat().map(({ name }) => name)).toEqual([base, 'other/7/base'])
  })

  test('refuses a layer that comes without the parent it says it has, lazy or not, and leaves nothing', async () => {
    const base = scene.layer('base')
    const label = { 'containerd.io/snapshot/parent-chain-id': base }
    for (const chainId of [scene.layer('upper'), `sha256:${'e'.repeat(64)}`]) {
      await expect(prepare(chainId, '', label)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', message: expect.stringContaining('"rebase"') })
    }
    expect([scene.all(), scene.directories(), scene.layers.requests]).toEqual([[], [], []])
    const parent = await lazily(base)
    await expect(prepare(scene.layer('upper'), parent, label)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })

  test('mounts once when many ask at once', async () => {
    const chainId = scene.layer('base')
    const results = await Promise.allSettled(Array.from({ length: 20 }, async (_, at) => await scene.sn().prepare(`k${at}`, '', { [REF]: chainId })))
    expect(results.every((result) => result.status === 'rejected' && (result.reason as SnapshotterError).code === 'ALREADY_EXISTS')).toBe(true)
    expect(scene.layers.requests).toHaveLength(1)
    expect(scene.all()).toHaveLength(1)
    expect(scene.directories()).toHaveLength(1)
  })

  test('gives an ordinary snapshot for an unknown chain ID, a malformed one, and for every View', async () => {
    const chainId = scene.layer('base')
    scene.layers.known.clear()
    expect(await prepare(chainId)).toEqual([expect.objectContaining({ type: 'bind', options: ['rw', 'rbind'] })])
    expect(await scene.sn().prepare('k', '', { [REF]: 'sha256:short' })).toHaveLength(1)
    scene.layer('base')
    expect(await scene.sn().view('v', '', { [REF]: chainId })).toHaveLength(1)
    expect(scene.layers.requests).toHaveLength(1)
    expect(scene.directories()).toHaveLength(3)
    expect(mountsBelow(scene.root)).toEqual([])
  })

  test('refuses a taken key and a missing parent before it mounts anything', async () => {
    const chainId = scene.layer('base')
    await scene.sn().prepare('taken', '', {})
    await expect(scene.sn().prepare('taken', '', { [REF]: chainId })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(prepare(chainId, 'none')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(prepare(chainId, 'taken')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(scene.layers.requests).toEqual([])
  })
})

suite('a layer that cannot be mounted', () => {
  test('becomes ordinary writable mounts and a warning, and leaves nothing', async () => {
    const chainId = scene.layer('base')
    scene.layers.beforeMount = async () => { throw new SnapshotterError('GATEWAY_TIMEOUT', 'gateway gw.example said nothing for 10000 ms') }
    const results = await Promise.all([1, 2, 3].map(async (at) => await scene.sn().prepare(`k${at}`, '', { [REF]: chainId })))
    expect(results.every(([mount]) => mount?.options.includes('rw'))).toBe(true)
    expect(scene.logged.filter((line) => line.startsWith('layer not mounted lazily'))).toEqual([expect.stringContaining('GATEWAY_TIMEOUT')])
    expect(scene.all()).toHaveLength(3)
    expect(scene.directories()).toHaveLength(3)

    scene.layers.beforeMount = async () => {}
    await lazily(chainId)
  })

  const violations = ['BLOCK_HASH_MISMATCH', 'DIGEST_MISMATCH', 'TOC_INVALID', 'LAYER_INVALID', 'POLICY_DENIED'] as const
  test.each(violations)('for %s is an error, never a download', async (code) => {
    const chainId = scene.layer('base')
    scene.layers.beforeMount = async () => { throw new SnapshotterError(code, 'it lies') }
    await expect(prepare(chainId)).rejects.toMatchObject({ code })
    expect(scene.all()).toEqual([])
    expect(scene.directories()).toEqual([])
    expect(mountsBelow(scene.root)).toEqual([])
  })

  test('is an error for every reason in strict mode, but an unknown chain ID is not', async () => {
    await scene.end()
    scene = await snapshotScene({ strict: true })
    const chainId = scene.layer('base')
    scene.layers.beforeMount = async () => { throw new SnapshotterError('GATEWAY_TIMEOUT', 'nothing') }
    await expect(prepare(chainId)).rejects.toMatchObject({ code: 'GATEWAY_TIMEOUT' })
    scene.layers.beforeMount = async () => {}
    scene.layers.known.clear()
    expect(await prepare(chainId)).toHaveLength(1)
  })

  test('late, because everything stops, is undone once it comes', async () => {
    const chainId = scene.layer('base')
    let go = (): void => {}
    let started = (): void => {}
    const running = new Promise<void>((resolve) => { started = resolve })
    scene.layers.beforeMount = async () => { await new Promise<void>((resolve) => { go = resolve; started() }) }
    const asked = prepare(chainId).then(() => null, (error: unknown) => error)
    await running
    const closing = scene.snapshotters().close()
    expect(await asked).toMatchObject({ code: 'UNAVAILABLE' })
    await closing
    go()
    for (let turn = 0; turn < 500 && scene.directories().length > 0; turn++) await new Promise((resolve) => setTimeout(resolve, 10))
    expect(scene.directories()).toEqual([])
    expect(mountsBelow(scene.root)).toEqual([])
  })

  test('with a label that is too long for containerd is undone', async () => {
    const chainId = scene.layer('base')
    const { mount } = scene.layers
    scene.layers.mount = async (request) => {
      const mounted = await mount(request)
      return mounted === null ? null : { ...mounted, labels: { 'containerd.io/snapshot/long': 'x'.repeat(5000) } }
    }
    expect(await prepare(chainId)).toHaveLength(1)
    expect(mountsBelow(scene.root)).toEqual([])
    expect(scene.directories()).toHaveLength(1)
  })
})

suite('removal of a lazy layer', () => {
  test('unmounts it, and the next Prepare mounts it again', async () => {
    const chainId = scene.layer('base')
    const upperId = scene.layer('upper')
    const base = await lazily(chainId)
    const upper = await lazily(upperId, base)
    await expect(scene.sn().remove(base)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', message: expect.stringContaining('remove') })
    await scene.sn().remove(upper)
    await scene.sn().remove(base)
    await scene.sn().cleanup()
    expect(mountsBelow(scene.root)).toEqual([])
    expect(scene.directories()).toEqual([])
    expect(await lazily(chainId)).toBe(base)
    expect(mountsBelow(scene.root)).toHaveLength(1)
  })

  test('of everything at once leaves no mount', async () => {
    const names = await Promise.all(Array.from({ length: 8 }, async (_, at) => await lazily(scene.layer(`layer-${at}`))))
    expect(mountsBelow(scene.root)).toHaveLength(8)
    await scene.snapshotters().unmountAll()
    expect(mountsBelow(scene.root)).toEqual([])
    await Promise.all(names.map(async (name) => { await scene.sn().remove(name) }))
    await scene.sn().cleanup()
    expect(scene.directories()).toEqual([])
  })
})

suite('a restart', () => {
  test('mounts every layer again, after a reboot too, before anything is served', async () => {
    const base = await lazily(scene.layer('base'))
    const upper = await lazily(scene.layer('upper'), base)
    const mounts = await scene.sn().prepare('container', upper, {})
    await scene.restart(new BindLayers())
    expect(scene.layers.restored).toHaveLength(2)
    expect(mountsBelow(scene.root)).toHaveLength(2)

    for (const point of mountsBelow(scene.root)) execFileSync('umount', [point])
    await scene.restart(new BindLayers())
    expect(mountsBelow(scene.root)).toHaveLength(2)
    expect(await scene.sn().mounts('container')).toEqual(mounts)
    await withMounts(mounts, join(scene.root, 'rootfs'), (root) => {
      expect(readFileSync(join(root, 'upper'), 'utf8')).toBe('content of upper\n')
    })
    expect(scene.layers.requests).toEqual([])
  })

  test('goes on without a layer that fails, says Unavailable for it, and heals when the layer does', async () => {
    const base = await lazily(scene.layer('base'))
    const other = await lazily(scene.layer('other'))
    await scene.sn().prepare('broken', base, {})
    await scene.sn().prepare('fine', other, {})
    for (const point of mountsBelow(scene.root)) execFileSync('umount', [point])
    const folder = [...scene.layers.known.values()][0] ?? ''
    renameSync(folder, `${folder}.away`)

    await scene.restart(new BindLayers())
    expect(scene.logged.join()).toContain('lazy layer not restored')
    expect(await scene.sn().mounts('fine')).toHaveLength(1)
    await expect(scene.sn().mounts('broken')).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('is gone') })
    await expect(scene.sn().prepare('another', base, {})).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(scene.sn().stat('broken').parent).toBe(base)

    renameSync(`${folder}.away`, folder)
    expect(mountPointOf(await scene.sn().mounts('broken'))).toMatch(/\/fs$/)
    expect(mountsBelow(scene.root)).toHaveLength(2)
  })

  test('does not mount a layer under the name of another, when the disk traded their rows', async () => {
    const base = await lazily(scene.layer('base'))
    const other = await lazily(scene.layer('other'))
    await scene.sn().prepare('container', base, {})
    for (const point of mountsBelow(scene.root)) execFileSync('umount', [point])
    await scene.restart(new BindLayers(), () => {
      const database = new DatabaseSync(join(scene.root, 'ipfs.sqlite'))
      const rows = database.prepare('SELECT id, chain_id, restore FROM snapshots WHERE chain_id IS NOT NULL').all()
      const set = database.prepare('UPDATE snapshots SET chain_id = ?, restore = ? WHERE id = ?')
      set.run('on its way', '', rows[0]?.['id'] ?? 0)
      set.run(rows[0]?.['chain_id'] ?? '', rows[0]?.['restore'] ?? '', rows[1]?.['id'] ?? 0)
      set.run(rows[1]?.['chain_id'] ?? '', rows[1]?.['restore'] ?? '', rows[0]?.['id'] ?? 0)
      database.close()
    })

    await expect(scene.sn().mounts('container')).rejects.toMatchObject({ code: 'STATE_INVALID', message: expect.stringContaining('another layer') })
    expect(mountsBelow(scene.root)).toEqual([])
    expect(other).not.toBe(base)
  })

  test('puts back a directory that is gone, and unmounts what no record names', async () => {
    const base = await lazily(scene.layer('base'))
    const point = mountsBelow(scene.root)[0] ?? ''
    execFileSync('umount', [point])
    execFileSync('rm', ['-r', join(point, '..')])
    const orphan = join(scene.root, 'snapshots/ipfs/700/fs')
    mkdirSync(orphan, { recursive: true })
    execFileSync('mount', ['--bind', [...scene.layers.known.values()][0] ?? '', orphan])

    await scene.restart()
    expect(isMounted(point)).toBe(true)
    expect(isMounted(orphan)).toBe(false)
    expect(existsSync([...scene.layers.known.values()][0] ?? '')).toBe(true)
    expect(await scene.sn().view('v', base, {})).toHaveLength(1)
    await scene.sn().cleanup()
    expect(scene.directories()).toHaveLength(2)
  })
})

suite('a layer whose backing goes away', () => {
  test('makes Mounts and new children Unavailable; a repeated pull falls back', async () => {
    const chainId = scene.layer('base')
    const base = await lazily(chainId)
    await scene.sn().prepare('container', base, {})
    scene.layers.gone.add(mountsBelow(scene.root)[0] ?? '')
    await expect(scene.sn().mounts('container')).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining(chainId) })
    const before = scene.directories()
    await expect(scene.sn().prepare('more', base, {})).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(scene.sn().view('more', base, {})).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(scene.directories()).toEqual(before)
    expect(await prepare(chainId)).toEqual([expect.objectContaining({ options: ['rw', 'rbind'] })])
    scene.layers.gone.clear()
    expect(await scene.sn().mounts('container')).toHaveLength(1)
  })
})
