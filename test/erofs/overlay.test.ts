// Layers stacked by overlayfs: deletions act, implied directories keep what they had.
import { beforeAll, expect, test } from '@jest/globals'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { resolveImplied } from '../../src/layer/implied.ts'
import {
  mountImages, MOUNT_FORMS, type MountForm, native, PREPARE_MS, preparePrograms, whyNoMounts, withScratch, writeImages
} from '../suites/erofs-mounts.ts'
import { type Description, layerFrom } from '../suites/layer-from-tree.ts'
import { compareTrees, type Tree } from '../suites/tree-compare.ts'
import { dumpTree } from '../suites/tree-dump.ts'

const whyNot = whyNoMounts()
if (whyNot !== null) process.stderr.write(`erofs/overlay: skipped, ${whyNot}\n`)
const mounting = whyNot === null ? test : test.skip
if (whyNot === null) beforeAll(preparePrograms, PREPARE_MS)

const file = (content: string): Description => ({ kind: 'file', content: Buffer.from(content) })
const directory = (entries: Record<string, Description>, rest: object = {}): Description => ({ kind: 'directory', entries, ...rest })
const implied = (entries: Record<string, Description>): Description => directory(entries, { implied: true })
const whiteout: Description = { kind: 'char', device: [0, 0], mode: 0 }
const OPAQUE = { xattrs: { 'trusted.overlay.opaque': 'y' } }

/** What a container sees of `layers`, lowest first. */
async function stacked (layers: readonly Description[], form: MountForm): Promise<Tree> {
  return await withScratch(async (scratch) => {
    const opened = layers.map((description) => layerFrom(description))
    const directories: string[] = []
    for (const [number, layer] of opened.entries()) {
      const lowers = opened.slice(0, number).reverse().map(({ index }) => index)
      const at = join(scratch, `layer-${number}`)
      await mountImages(writeImages(scratch, { ...layer, index: resolveImplied(layer.index, lowers) }, `image-${number}`), form, at)
      directories.unshift(at)
    }
    const merged = join(scratch, 'merged')
    mkdirSync(merged)
    await native('mount-overlay', merged, '--lower', directories.join(':'))
    return await dumpTree(merged, { sameDirentNumbers: false })
  })
}

/** The tree of a description; overlayfs counts a directory's links as 1. */
function tree (description: Description): Tree {
  return new Map([...layerFrom(description).expected].map(([path, entry]) =>
    [path, entry.type === 'directory' ? { ...entry, links: null } : entry]))
}

mounting('whiteouts and opaque directories hide what is below, at any depth, in every mount form', async () => {
  const base = directory({
    gone: directory({ deep: directory({ x: file('x') }) }), kept: directory({ a: file('a'), b: file('b') }), plain: file('old'),
    opaque: directory({ old: file('old'), sub: directory({ older: file('older') }) }), linked: directory({ one: file('1') })
  })
  const middle = directory({
    gone: whiteout, never: whiteout, kept: directory({ b: whiteout }), plain: directory({ now: file('') }),
    opaque: directory({ new: file('new') }, OPAQUE)
  })
  const top = directory({
    back: file(''), gone: directory({ again: file('again') }), opaque: directory({ new: whiteout, sub: directory({}) })
  })
  const expected = directory({
    back: file(''), gone: directory({ again: file('again') }), kept: directory({ a: file('a') }), plain: directory({ now: file('') }),
    opaque: directory({ sub: directory({}) }), linked: directory({ one: file('1') })
  })

  for (const form of MOUNT_FORMS) {
    const differences = compareTrees(await stacked([base, middle, top], form), tree(expected))
    expect({ form, differences }).toEqual({ form, differences: [] })
  }
})

mounting('a layer that adds tmp/x and etc/a/b keeps owner, mode, time and attributes of /tmp, /etc and /etc/a', async () => {
  const tmp = { mode: 0o1777, mtime: [5, 6] as const }
  const etc = { mode: 0o750, uid: 3, gid: 4, mtime: [7, 8] as const, xattrs: { 'user.note': 'kept', 'security.selinux': 'etc_t' } }
  const a = { mode: 0o700, mtime: [1, 1] as const }
  const base = directory({ tmp: directory({}, tmp), etc: directory({ a: directory({ old: file('') }, a) }, etc) })
  const middle = directory({ unrelated: file('') })
  const top = directory({
    tmp: implied({ x: file('x') }), etc: implied({ a: implied({ b: file('b') }) }), new: implied({ y: file('') })
  })
  const expected = directory({
    tmp: directory({ x: file('x') }, tmp),
    etc: directory({ a: directory({ old: file(''), b: file('b') }, a) }, etc),
    new: directory({ y: file('') }),
    unrelated: file('')
  })

  expect(compareTrees(await stacked([base, middle, top], 'two files'), tree(expected))).toEqual([])
})
