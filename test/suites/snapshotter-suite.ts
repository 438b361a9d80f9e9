// containerd's snapshotter conformance suite, check by check under its own names (core/snapshots/testsuite, spelling
// kept), for anything that looks like a snapshotter. Real mounts: needs root. What a check demands is containerd's;
// the code is ours.
import { afterEach, describe, expect, test } from '@jest/globals'
import { mkdirSync, mkdtempSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import type { Labels } from '../../src/base/labels.ts'
import type { Mount, SnapshotInfo } from '../../src/snapshots/snapshot.ts'
import { canMount, mountAll, unmountAll, wipe, withMounts } from './mounts.ts'
import { all, dir, file, hardLink, listing, move, owner, removeAll, type Step } from './trees.ts'

export interface SuiteSnapshotter {
  readonly prepare: (key: string, parent: string, labels: Labels) => Promise<Mount[]>
  readonly view: (key: string, parent: string, labels: Labels) => Promise<Mount[]>
  readonly commit: (name: string, key: string, labels: Labels) => Promise<void>
  readonly remove: (key: string) => Promise<void>
  readonly stat: (key: string) => Promise<SnapshotInfo>
  readonly update: (name: string, labels: Labels, paths: readonly string[]) => Promise<SnapshotInfo>
  readonly list: (filters: readonly string[]) => AsyncIterable<SnapshotInfo>
  readonly close: () => Promise<void>
}

export interface SuiteInit {
  /** A snapshotter whose state lies below `root`; `stop` ends what it started. */
  readonly start: (root: string) => Promise<{ snapshotter: SuiteSnapshotter, stop: () => Promise<void> }>
  /** How a refused argument shows. */
  readonly isInvalidArgument: (error: unknown) => boolean
}

interface Scene { readonly sn: SuiteSnapshotter, readonly work: string, readonly path: (name: string) => string }

const ROOTED: Labels = { 'containerd.io/gc.root': '2026-01-01T00:00:00Z' }

export function snapshotterSuite (name: string, { start, isInvalidArgument }: SuiteInit): void {
  const scenes: Array<() => Promise<void>> = []
  afterEach(async () => {
    for (const end of scenes.splice(0)) await end()
  })

  const check: Check = (title, body, timeoutMs) => {
    test(title, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'snapshot-suite-'))
      const work = join(folder, 'work')
      mkdirSync(work)
      const { snapshotter, stop } = await start(join(folder, 'root'))
      scenes.push(async () => {
        await stop()
        wipe(folder)
      })
      await body({ sn: snapshotter, work, path: (part) => join(work, part) })
    }, timeoutMs)
  }

  if (!canMount) process.stderr.write(`${name}: skipped, mounting needs root\n`)
  const suite = canMount ? describe : describe.skip
  suite(`containerd's snapshotter suite: ${name}`, () => {
    metadataChecks(check, isInvalidArgument)
    layerChecks(check)
    mountChecks(check)
  })
}

type Check = (title: string, body: (scene: Scene) => Promise<void>, timeoutMs?: number) => void

function metadataChecks (check: Check, isInvalidArgument: (error: unknown) => boolean): void {
  check('Basic', basic)

  check('StatActive', async ({ sn, path }) => {
    await withMounts(await sn.prepare(path('preparing'), '', ROOTED), path('preparing'), () => {})
    expect(await sn.stat(path('preparing'))).toMatchObject({ name: path('preparing'), kind: 'active', parent: '' })
  })

  check('StatComitted', async ({ sn, path }) => {
    await layer(sn, path('committed'), '', path('preparing'))
    expect(await sn.stat(path('committed'))).toMatchObject({ name: path('committed'), kind: 'committed', parent: '' })
  })

  check('TransitivityTest', async ({ sn, path }) => {
    await layer(sn, path('a'), '', path('a-active'), file('foo', 'foo\n', 0o777))
    await layer(sn, path('b'), path('a'), path('b-active'), file('foo', 'foo bar\n', 0o777))
    expect((await sn.stat(path('a'))).parent).toBe('')
    expect((await sn.stat(path('b'))).parent).toBe(path('a'))
    expect((await sn.stat((await sn.stat(path('b'))).parent)).parent).toBe('')
  })

  check('PreareViewFailingtest', async ({ sn, path }) => {
    await layer(sn, path('a'), '', path('a-active'))
    await sn.prepare('one', path('a'), ROOTED)
    await expect(sn.view('one', path('a'), ROOTED)).rejects.toThrow()
    await sn.prepare('two', path('a'), ROOTED)
    await expect(sn.prepare('two', path('a'), ROOTED)).rejects.toThrow()
    await sn.view('three', path('a'), ROOTED)
    await expect(sn.view('three', path('a'), ROOTED)).rejects.toThrow()
  })

  check('Update', async ({ sn }) => { await updates(sn, isInvalidArgument) })

  check('Remove', async ({ sn }) => {
    await sn.prepare('committed-a', '', ROOTED)
    await sn.commit('committed-1', 'committed-a', ROOTED)
    await sn.prepare('reuse-1', 'committed-1', ROOTED)
    await sn.remove('reuse-1')
    await sn.view('reuse-1', 'committed-1', ROOTED)
    await sn.remove('reuse-1')
    await sn.prepare('reuse-1', '', ROOTED)
    await sn.remove('committed-1')
    await sn.commit('committed-1', 'reuse-1', ROOTED)
    expect(await sn.stat('committed-1')).toMatchObject({ kind: 'committed', parent: '' })
  })

  check('Walk', async ({ sn }) => { await walk(sn) })

  check('StatInWalk', async ({ sn }) => {
    await named(sn)
    const seen: string[] = []
    for await (const info of sn.list([])) {
      expect(await sn.stat(info.name)).toEqual(info)
      seen.push(info.name)
    }
    expect(seen.sort()).toEqual(['a1', 'a2', 'c1', 'c2', 'v1', 'v2'])
  })

  check('CloseTwice', async ({ sn }) => {
    await sn.prepare('active', '', ROOTED)
    await sn.commit('name', 'active', ROOTED)
    await sn.remove('name')
    await sn.close()
    await sn.close()
  })
}

async function basic ({ sn, path }: Scene): Promise<void> {
  const initial = all(file('foo', 'foo\n', 0o777), dir('a', 0o755), dir('a/b', 0o755), dir('a/b/c', 0o755))
  const change = all(file('bar', 'bar\n', 0o777), file('foo', 'bar\n', 0o777), removeAll('a/b'))
  const flat = flatTree(path('flat'))

  await layer(sn, path('committed'), '', path('preparing'), initial)
  const first = await sn.stat(path('committed'))
  expect(first).toMatchObject({ kind: 'committed', parent: '' })
  await expect(sn.stat(path('preparing'))).rejects.toThrow()

  await withMounts(await sn.prepare(path('next'), path('committed'), ROOTED), path('next'), (root) => {
    expect(listing(root)).toEqual(flat(initial))
    change(root)
  })
  expect(await sn.stat(path('next'))).toMatchObject({ kind: 'active', parent: path('committed') })
  await sn.commit(path('committed-next'), path('next'), ROOTED)
  const second = await sn.stat(path('committed-next'))
  expect(second).toMatchObject({ kind: 'committed', parent: path('committed') })
  await expect(sn.stat(path('next'))).rejects.toThrow()
  expect(await collect(sn, [])).toEqual([first, second])

  await withMounts(await sn.view(path('view'), path('committed-next'), ROOTED), path('view'), (root) => {
    expect(listing(root)).toEqual(flat(change))
  })
  await sn.remove(path('view'))
  await expect(sn.remove(path('committed'))).rejects.toThrow(/remove/)
  await sn.remove(path('committed-next'))
  await sn.remove(path('committed'))
  expect(await collect(sn, [])).toEqual([])
}

async function updates (sn: SuiteSnapshotter, isInvalidArgument: (error: unknown) => boolean): Promise<void> {
  const before = systemClock.nowNs()
  await named(sn)
  const after = systemClock.nowNs()
  const expected = { c1: ['committed', ''], c2: ['committed', 'c1'], a1: ['active', 'c2'], a2: ['active', ''], v1: ['view', 'c2'], v2: ['view', ''] }
  for (const [name, [kind, parent]] of Object.entries(expected)) {
    const created = await sn.stat(name)
    expect(created).toMatchObject({ name, kind, parent })
    expect(created.createdNs >= before && created.createdNs <= after).toBe(true)
    expect(created.updatedNs).toBe(created.createdNs)

    const start = systemClock.nowNs()
    const replaced = await sn.update(name, { l1: 'v1', l2: 'v2', l3: 'v3', ...ROOTED }, [])
    const end = systemClock.nowNs()
    expect(replaced).toMatchObject({ name, kind, parent, createdNs: created.createdNs })
    expect(replaced.updatedNs >= start && replaced.updatedNs <= end).toBe(true)
    expect(replaced.labels).toEqual({ l1: 'v1', l2: 'v2', l3: 'v3', ...ROOTED })

    const masked = await sn.update(name, { l1: 'updated', l4: 'v4' }, ['labels.l1', 'labels.l2'])
    expect(masked.labels).toEqual({ l1: 'updated', l3: 'v3', ...ROOTED })
    expect((await sn.update(name, { l4: 'v4', ...ROOTED }, ['labels'])).labels).toEqual({ l4: 'v4', ...ROOTED })
    const refused = await sn.update(name, {}, ['parent']).then(() => null, (error: unknown) => error)
    expect(isInvalidArgument(refused)).toBe(true)
    expect((await sn.stat(name)).labels).toEqual({ l4: 'v4', ...ROOTED })
  }
}

async function walk (sn: SuiteSnapshotter): Promise<void> {
  const rooted = (label?: string): Labels => ({ 'containerd.io/gc.root': 'check-walk', ...label === undefined ? {} : { l: label } })
  await sn.prepare('a-np', '', rooted())
  await sn.prepare('p-tmp', '', rooted())
  await sn.commit('p', 'p-tmp', rooted())
  await sn.prepare('a', 'p', rooted())
  await sn.view('v', 'p', rooted())
  await sn.prepare('p-wl-tmp', '', rooted())
  await sn.commit('p-wl', 'p-wl-tmp', rooted('1'))
  await sn.prepare('a-wl', 'p-wl', rooted('2'))
  await sn.view('v-wl', 'p-wl', rooted('3'))
  await sn.prepare('a-np-wl', '', rooted('2'))

  const root = 'labels."containerd.io/gc.root"==check-walk'
  const cases: ReadonlyArray<readonly [readonly string[], readonly string[]]> = [
    [[root], ['a-np', 'p', 'a', 'v', 'p-wl', 'a-wl', 'v-wl', 'a-np-wl']],
    [[`kind==active,${root}`], ['a-np', 'a', 'a-wl', 'a-np-wl']],
    [[`kind==view,${root}`], ['v', 'v-wl']],
    [[`kind==committed,${root}`], ['p', 'p-wl']],
    [['name==p', 'name==a-np-wl'], ['p', 'a-np-wl']],
    [['name==a-wl,labels.l'], ['a-wl']],
    [['parent==p'], ['a', 'v']],
    [[`parent!="",${root}`], ['a', 'v', 'a-wl', 'v-wl']],
    [['labels.l'], ['p-wl', 'a-wl', 'v-wl', 'a-np-wl']],
    [['labels.l==2'], ['a-wl', 'a-np-wl']]
  ]
  for (const [filters, names] of cases) {
    expect((await collect(sn, filters)).map((info) => info.name).sort()).toEqual([...names].sort())
  }
}

function layerChecks (check: Check): void {
  const layered = (title: string, ...steps: Step[]): void => check(title, async (scene) => { await sameAsFlat(scene, steps) })

  layered('LayerFileupdate', all(
    dir('etc', 0o700), file('etc/hosts', 'mydomain 10.0.0.1', 0o644), file('etc/profile', 'PATH=/usr/bin', 0o644)
  ), all(
    file('etc/hosts', 'mydomain 10.0.0.2', 0o644), file('etc/profile', 'PATH=/usr/bin', 0o666),
    dir('root', 0o700), file('root/.bashrc', 'PATH=/usr/sbin:/usr/bin', 0o644)))

  layered('RemoveDirectoryInLowerLayer',
    all(dir('lib', 0o700), file('lib/hidden', '', 0o644)),
    all(removeAll('lib'), dir('lib', 0o700), file('lib/not-hidden', '', 0o644)),
    file('lib/newfile', '', 0o644))

  layered('Chown', all(
    dir('opt', 0o700), dir('opt/a', 0o700), dir('opt/a/b', 0o700), file('opt/a/b/file.txt', 'hello', 0o644)
  ), all(
    owner('opt', 1, 1), owner('opt/a', 1, 1), owner('opt/a/b', 1, 1), owner('opt/a/b/file.txt', 1, 1)))

  layered('DirectoryPermissionOnCommit', all(
    ...[1, 2, 3, 4, 5].map((n) => dir(`dir${n}`, 0o700)), file('dir4/f1', '...', 0o644), file('dir5/f1', '...', 0o644),
    ...['dir1', 'dir2', 'dir3', 'dir5', 'dir5/f1'].map((path) => owner(path, 1, 1))
  ), all(
    owner('dir2', 0, 0), removeAll('dir3'), owner('dir4', 1, 1), owner('dir4/f1', 1, 1)
  ), all(
    dir('dir3', 0o700), owner('dir3', 1, 1), removeAll('dir5'), dir('dir5', 0o700), owner('dir5', 1, 1)))

  layered('DeletedFilesInChildSnapshot',
    all(file('foo', 'foo\n', 0o777), file('foobar', 'foobar\n', 0o777)), removeAll('foobar'), all())

  layered('MoveFileFromLowerLayer', all(
    dir('dir1', 0o700), file('dir1/f1', 'Hello', 0o644), dir('dir2', 0o700), file('dir2/f2', '...', 0o644)
  ), all(
    dir('dir3', 0o700), file('dir3/f1', 'Hello', 0o644), removeAll('dir1'), hardLink('dir2/f2', 'dir3/f2'), removeAll('dir2/f2')))

  // Renaming a lower directory needs redirect_dir: containerd leaves it out for its overlay snapshotters too.
  layered('Rename', all(
    dir('dir1', 0o700), dir('somefiles', 0o700), file('somefiles/f1', 'was here first!', 0o644), file('somefiles/f2', 'nothing interesting', 0o644)
  ), all(
    file('somefiles/f1-overwrite', 'new content 1', 0o644), move('somefiles/f1-overwrite', 'somefiles/f1'), move('somefiles/f2', 'somefiles/f3')))
}

function mountChecks (check: Check): void {
  check('RemoveIntermediateSnapshot', async ({ sn, path }) => {
    await layer(sn, path('base'), '', 'base-active')
    await sn.prepare('middle-active', path('base'), ROOTED)
    await sn.commit(path('middle'), 'middle-active', ROOTED)
    await sn.prepare('top', path('middle'), ROOTED)
    await expect(sn.remove(path('middle'))).rejects.toThrow(/remove/)
    await sn.remove('top')
    await sn.remove(path('middle'))
    await sn.remove(path('base'))
  })

  check('ViewReadonly', async ({ sn, path }) => {
    await sn.prepare('active', '', ROOTED)
    await sn.commit('committed', 'active', ROOTED)
    await withMounts(await sn.view('view', 'committed', ROOTED), path('mount'), (root) => {
      expect(() => writeFileSync(join(root, 'testfile'), 'content')).toThrow(/EROFS/)
    })
    await sn.remove('view')
    await sn.remove('committed')
  })

  check('RootPermission', async ({ sn, path }) => {
    await withMounts(await sn.prepare('active', '', ROOTED), path('mount'), (root) => {
      expect(statSync(root).mode & 0o7777).toBe(0o755)
    })
  })

  check('128LayersMount', async ({ sn, path }) => {
    const flat = flatTree(path('flat'))
    const steps = [all(
      file('bottom', 'way at the bottom\n', 0o777), file('overwriteme', 'FIRST!\n', 0o777), dir('addhere', 0o755),
      dir('onlyme', 0o755), file('onlyme/bottom', 'bye!\n', 0o777)
    ), ...Array.from({ length: 127 }, (_, at) => all(
      file('overwriteme', `${at + 1} WAS HERE!\n`, 0o777), file(`addhere/file-${at + 1}`, 'same\n', 0o755),
      removeAll('onlyme'), dir('onlyme', 0o755), file(`onlyme/file-${at + 1}`, 'only me!\n', 0o777)))]
    let parent = ''
    let state: Record<string, string> = {}
    for (const [at, step] of steps.entries()) {
      await withMounts(await sn.prepare(`active-${at}`, parent, ROOTED), path(`mount-${at}`), (root) => {
        expect(listing(root)).toEqual(state)
        step(root)
        state = flat(step)
        expect(listing(root)).toEqual(state)
      })
      parent = path(`committed-${at}`)
      await sn.commit(parent, `active-${at}`, ROOTED)
    }
    const view = path('full-view')
    mkdirSync(view)
    mountAll(await sn.view('view', parent, ROOTED), view)
    expect(listing(view)).toEqual(state)
    unmountAll(view)
  }, 180_000)
}

/** A committed snapshot with what `step` leaves in it. */
async function layer (sn: SuiteSnapshotter, name: string, parent: string, key: string, step: Step = () => {}): Promise<void> {
  const target = mkdtempSync(join(tmpdir(), 'snapshot-layer-'))
  try {
    await withMounts(await sn.prepare(key, parent, ROOTED), target, step)
    await sn.commit(name, key, ROOTED)
  } finally {
    wipe(target)
  }
}

/** Applies each step to a layer of its own and to one plain directory, and compares the two after each. */
async function sameAsFlat ({ sn, path }: Scene, steps: readonly Step[]): Promise<void> {
  const flat = flatTree(path('flat'))
  let parent = ''
  for (const [at, step] of steps.entries()) {
    const name = path(`layer-${at}`)
    await layer(sn, name, parent, `active-${at}`, step)
    const wanted = flat(step)
    await withMounts(await sn.view(`view-${at}`, name, ROOTED), path(`check-${at}`), (root) => {
      expect(listing(root)).toEqual(wanted)
    })
    await sn.remove(`view-${at}`)
    parent = name
  }
}

function flatTree (root: string): (step: Step) => Record<string, string> {
  mkdirSync(root)
  return (step) => {
    step(root)
    return listing(root)
  }
}

/** Two committed, two active, two views; one of each without parent. */
async function named (sn: SuiteSnapshotter): Promise<void> {
  await sn.prepare('c1-a', '', ROOTED)
  await sn.commit('c1', 'c1-a', ROOTED)
  await sn.prepare('c2-a', 'c1', ROOTED)
  await sn.commit('c2', 'c2-a', ROOTED)
  await sn.prepare('a1', 'c2', ROOTED)
  await sn.prepare('a2', '', ROOTED)
  await sn.view('v1', 'c2', ROOTED)
  await sn.view('v2', '', ROOTED)
}

async function collect (sn: SuiteSnapshotter, filters: readonly string[]): Promise<SnapshotInfo[]> {
  const infos: SnapshotInfo[] = []
  for await (const info of sn.list(filters)) infos.push(info)
  return infos
}
