// One suite over all drivers: every entry and byte of every layer, mounted by each on a real data plane, against the truth
// that other tools made or that was described, and against what the other drivers show; alone, stacked, and stacked again.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { randomBytes } from 'node:crypto'
import { chmodSync, readFileSync } from 'node:fs'
import { appendFile, rm } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { resolveImplied } from '../../src/layer/implied.ts'
import type { DriverName } from '../../src/mount/driver.ts'
import { execute } from '../e2e/command.ts'
import { dataPlaneSkipReason, until } from '../suites/data-plane-fixture.ts'
import { described, DRIVERS, DriverScene, inMemory } from '../suites/driver-scene.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { openFixture } from '../suites/fixture-layers.ts'
import { type Description, layerFrom } from '../suites/layer-from-tree.ts'
import { forRandomTrees } from '../suites/random-trees.ts'
import { directory, edges, file, NOT_UTF8, specimen } from '../suites/specimen.ts'
import { type CompareOptions, compareTrees, readTruth, type Tree } from '../suites/tree-compare.ts'
import { dumpTree } from '../suites/tree-dump.ts'

const TRUTH = resolve(import.meta.dirname, '../fixtures/truth')
const IMAGES = ['umoci-gzip.oci.tar', 'docker-archive.tar.gz', 'estargz.oci.tar', 'estargz-64k.oci.tar', 'estargz-inner.oci.tar',
  'soci-v1.oci.tar.gz', 'soci-v2.oci.tar.gz']
const suite = dataPlaneSkipReason === null ? describe : describe.skip
if (dataPlaneSkipReason !== null) process.stderr.write(`mount/driver-trees: skipped, ${dataPlaneSkipReason}\n`)

let scene: DriverScene

/** GNU tar kept -1.5 s; containerd puts times before 1970 at 0, and we follow containerd. */
function asContainerdShows (truth: Tree): Tree {
  return new Map([...truth].map(([path, entry]) => [path, entry.mtimeNs < 0n ? { ...entry, mtimeNs: 0n } : entry]))
}

function optionsOf (driver: DriverName, more: CompareOptions = {}): CompareOptions {
  return { mtimeInMilliseconds: driver === 'fuse', ...more }
}

/** What each driver shows differs so from `truth`, and from what the first driver shows. */
function differences (shown: ReadonlyMap<DriverName, Tree>, truth: Tree, more: CompareOptions = {}): Record<string, string[]> {
  const [[first, reference] = ['erofs' as const, truth]] = shown
  return Object.fromEntries([...shown].flatMap(([driver, tree]) => [
    [`${driver} and the truth`, compareTrees(tree, truth, optionsOf(driver, more))],
    [`${driver} and ${first}`, compareTrees(tree, reference, optionsOf(driver, { ignoreMtimeOf: more.ignoreMtimeOf ?? [] }))]
  ]))
}

const NONE = Object.fromEntries(DRIVERS.flatMap((driver) => [[`${driver} and the truth`, []], [`${driver} and ${DRIVERS[0] ?? ''}`, []]]))

async function shownOf (tree: Description, drivers = DRIVERS): Promise<Map<DriverName, Tree>> {
  const layer = described(layerFrom(tree))
  const shown = new Map<DriverName, Tree>()
  for (const driver of drivers) shown.set(driver, await dumpTree(await scene.mount(driver, layer)))
  return shown
}

/** The tree with other bytes than ASCII out of the names of files and xattrs; what was one inode stays one. */
function asUtf8 (tree: Description, done = new Map<Description, Description>()): Description {
  const known = done.get(tree)
  if (known !== undefined) return known
  const ascii = <Value>(record: Readonly<Record<string, Value>>, use: (value: Value) => Value): Record<string, Value> =>
    Object.fromEntries(Object.entries(record).map(([name, value]) => [name.replace(/[^ -~]/g, '~'), use(value)]))
  const xattrs = ascii(tree.xattrs ?? {}, (value) => value)
  const made: Description = tree.kind === 'directory' ? { ...tree, xattrs, entries: ascii(tree.entries, (child) => asUtf8(child, done)) } : { ...tree, xattrs }
  done.set(tree, made)
  return made
}

suite('erofs, erofs-loop and fuse show the same', () => {
  beforeAll(async () => {
    await preparePrograms()
    scene = await DriverScene.start()
  }, PREPARE_MS)
  afterEach(async () => { await scene.unmountAll() })
  afterAll(async () => { await scene[Symbol.asyncDispose]() }, PREPARE_MS)

  test.each(IMAGES)('layers of %s: each alone, both in an overlay, and that in another', async (image) => {
    const [base, over] = await openFixture(image)
    if (base === undefined || over === undefined) throw new Error(`${image} has not two layers`)
    const shown = { base: new Map<DriverName, Tree>(), over: new Map<DriverName, Tree>(), merged: new Map<DriverName, Tree>() }
    const nested = new Map<DriverName, Tree>()
    for (const driver of DRIVERS) {
      const below = await scene.mount(driver, inMemory({ ...base, index: resolveImplied(base.index, []) }))
      const above = await scene.mount(driver, inMemory({ ...over, index: resolveImplied(over.index, [base.index]) }))
      const merged = await scene.overlay([above, below])
      shown.base.set(driver, await dumpTree(below))
      shown.over.set(driver, await dumpTree(above))
      shown.merged.set(driver, await dumpTree(merged, { sameDirentNumbers: false }))
      nested.set(driver, await dumpTree(await scene.overlay([merged]), { sameDirentNumbers: false }))
    }
    const options = { ignoreMtimeOf: ['/'], mtimeInSeconds: base.rounded }
    const merged = await readTruth(join(TRUTH, 'merged.json'))
    expect(differences(shown.base, asContainerdShows(await readTruth(join(TRUTH, 'layer0.json'))), options)).toEqual(NONE)
    expect(differences(shown.over, shown.over.get('erofs') ?? new Map())).toEqual(NONE)
    expect(differences(shown.merged, merged, options)).toEqual(NONE)
    expect(differences(nested, merged, options)).toEqual(NONE)
    expect(shown.base.size + shown.over.size).toBe(2 * DRIVERS.length)
  }, 60_000)

  test('one of everything; fuse refuses the name that is no UTF-8, and says it', async () => {
    const tree = specimen()
    if (tree.kind !== 'directory') throw new Error('a specimen is a directory')
    const { [NOT_UTF8]: _, ...entries } = tree.entries
    await expect(scene.mount('fuse', described(layerFrom(tree)))).rejects.toMatchObject({
      code: 'UNSUPPORTED', message: expect.stringMatching(/UTF-8 only: a name at .*"café"/)
    })
    const utf8: Description = { ...tree, entries }
    expect(differences(await shownOf(utf8), layerFrom(utf8).expected)).toEqual(NONE)
  }, 60_000)

  test('directories and link targets around what fits an EROFS inode', async () => {
    expect(differences(await shownOf(edges()), layerFrom(edges()).expected)).toEqual(NONE)
  }, 60_000)

  test('whatever the tree is', async () => {
    await forRandomTrees(12, async (tree) => {
      const utf8 = asUtf8(tree)
      expect(differences(await shownOf(utf8), layerFrom(utf8).expected)).toEqual(NONE)
      await scene.unmountAll()
    })
  }, 60_000)

  test('an overlay is written to and the layer is not', async () => {
    for (const driver of DRIVERS) {
      const target = await scene.mount(driver, described(layerFrom(directory({ a: file('a'), gone: file('g') }, { mode: 0o755 }))))
      const merged = await scene.overlay([target])
      await appendFile(join(merged, 'a'), 'b') // not on this thread: it supplies what the copying reads
      await rm(join(merged, 'gone'))
      const [seen, kept] = [await dumpTree(merged, { sameDirentNumbers: false }), await dumpTree(target)]
      expect({ driver, seen: [...seen.keys()], size: seen.get('/a')?.size }).toEqual({ driver, seen: ['/', '/a'], size: 2 })
      expect({ driver, kept: [...kept.keys()].sort(), size: kept.get('/a')?.size }).toEqual({ driver, kept: ['/', '/a', '/gone'], size: 1 })
    }
  })

  test('programs run from it, setuid ones as their owner, and permissions hold for others', async () => {
    chmodSync(scene.fixture.state, 0o711)
    const id = readFileSync('/usr/bin/id')
    const layer = described(layerFrom(directory({
      id: file(id, { mode: 0o755 }), suid: file(id, { mode: 0o4755, uid: 4321 }), secret: file('s', { mode: 0o600 }), open: file('o', { mode: 0o644 }),
      closed: directory({ inside: file('i') }, { mode: 0o700 })
    })))
    const nobody = async (target: string, program: string, ...words: string[]): Promise<string> => {
      const { stdout, stderr } = await execute('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', program.replace('~', target),
        ...words.map((word) => word.replace('~', target))], 20_000)
      return stdout.trim() || /Permission denied/.exec(stderr)?.[0] || stderr
    }
    for (const driver of DRIVERS) {
      const target = await scene.mount(driver, layer)
      expect({
        driver,
        plain: await nobody(target, '~/id', '-u'),
        suid: await nobody(target, '~/suid', '-u'),
        open: await nobody(target, 'cat', '~/open'),
        secret: await nobody(target, 'cat', '~/secret'),
        closed: await nobody(target, 'cat', '~/closed/inside')
      }).toEqual({ driver, plain: '65534', suid: '4321', open: 'o', secret: 'Permission denied', closed: 'Permission denied' })
    }
  }, 60_000)

  test('more readers wait at once than there are threads in a pool, and each gets its bytes', async () => {
    for (const driver of DRIVERS) {
      // Each driver its own bytes: what one layer has, another one needs not wait for.
      const content = Object.fromEntries(Array.from({ length: 24 }, (_, at) => [`f${at}`, file(randomBytes(200_000))]))
      const layer = layerFrom(directory(content))
      const held = Promise.withResolvers<undefined>()
      scene.pace = async () => { await held.promise }
      const target = await scene.mount(driver, described(layer))
      const reading = Promise.all(Object.keys(content).map(async (name) => await execute('sha256sum', [join(target, name)], 50_000)))
      await until(async () => await scene.fixture.waitingReads() >= 12)
      held.resolve(undefined)
      scene.pace = async () => {}
      const wrong = (await reading).filter(({ stdout }) => {
        const [hash, path = ''] = stdout.trim().split('  ')
        return layer.expected.get(`/${basename(path)}`)?.sha256 !== hash
      })
      expect({ driver, wrong }).toEqual({ driver, wrong: [] })
    }
  }, 60_000)

  test('the comparison sees what one driver alone shows otherwise', async () => {
    const shown = await shownOf(directory({ a: file('abc') }), ['erofs'])
    const other = await shownOf(directory({ a: file('abd') }), ['fuse'])
    expect(differences(new Map([...shown, ...other]), layerFrom(directory({ a: file('abc') })).expected)).toMatchObject({
      'erofs and the truth': [], 'fuse and the truth': [expect.stringContaining('sha256')], 'fuse and erofs': [expect.stringContaining('sha256')]
    })
  })
})
