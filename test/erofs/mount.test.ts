// The builder against the kernel and against erofs-utils: what was described is what is mounted, in every form.
import { beforeAll, describe, expect, test } from '@jest/globals'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  mountImages, MOUNT_FORMS, native, PREPARE_MS, preparePrograms, whyNoMounts, withScratch, writeImages
} from '../suites/erofs-mounts.ts'
import { type Description, type Layer, layerFrom } from '../suites/layer-from-tree.ts'
import { forRandomTrees } from '../suites/random-trees.ts'
import { directory, edges, file, link, many, pipe, specimen } from '../suites/specimen.ts'
import { compareTrees, type Tree } from '../suites/tree-compare.ts'
import { dumpTree } from '../suites/tree-dump.ts'

const run = promisify(execFile)
const whyNot = whyNoMounts()
if (whyNot !== null) process.stderr.write(`erofs/mount: skipped, ${whyNot}\n`)
const mounting = whyNot === null ? test : test.skip
if (whyNot === null) beforeAll(preparePrograms, PREPARE_MS)
const hasFsck = ['/usr/bin', '/usr/sbin', '/sbin'].some((folder) => existsSync(join(folder, 'fsck.erofs')))
if (!hasFsck) process.stderr.write('erofs/mount: fsck.erofs tests skipped, it is not installed (erofs-utils)\n')
const fsck = whyNot === null && hasFsck ? test : test.skip

async function differences (layer: Layer, forms: readonly (typeof MOUNT_FORMS)[number][]): Promise<Record<string, string[]>> {
  return await withScratch(async (scratch) => {
    const images = writeImages(scratch, layer)
    const found: Record<string, string[]> = {}
    for (const [number, form] of forms.entries()) {
      const directory = join(scratch, `mount-${number}`)
      await mountImages(images, form, directory)
      found[form] = compareTrees(await dumpTree(directory), layer.expected)
    }
    return found
  })
}

const NONE = Object.fromEntries(MOUNT_FORMS.map((form) => [form, []]))

describe('a kernel mount shows the described tree', () => {
  mounting('with one of everything, in all four forms', async () => {
    expect(await differences(layerFrom(specimen()), MOUNT_FORMS)).toEqual(NONE)
  })

  mounting('with directories and link targets around the inline limit, in all four forms', async () => {
    expect(await differences(layerFrom(edges()), MOUNT_FORMS)).toEqual(NONE)
  })

  mounting('of an empty layer', async () => {
    expect(await differences(layerFrom(directory({})), MOUNT_FORMS)).toEqual(NONE)
  })

  mounting('whatever the tree is', async () => {
    let runs = 0
    await forRandomTrees(40, async (tree) => {
      const form = MOUNT_FORMS[runs++ % MOUNT_FORMS.length] ?? 'two files'
      expect(await differences(layerFrom(tree), [form])).toEqual({ [form]: [] })
    })
  })
})

mounting('the comparison sees each kind of change', async () => {
  const base = (): Record<string, Description> =>
    ({ a: file('abc', { xattrs: { 'user.x': '1' } }), l: { kind: 'symlink', target: 'a' }, p: pipe, l2: link })
  const changes: Record<string, Record<string, Description>> = {
    content: { a: file('abd', { xattrs: { 'user.x': '1' } }) },
    xattr: { a: file('abc', { xattrs: { 'user.x': '2' } }) },
    'absent xattr': { a: file('abc') },
    mode: { p: { ...pipe, mode: 0o601 } },
    owner: { p: { ...pipe, gid: 7 } },
    mtime: { p: { ...pipe, mtime: [0, 1] } },
    target: { l: { kind: 'symlink', target: 'b' } },
    type: { p: { kind: 'char', device: [0, 0], mode: 0o600, xattrs: { 'trusted.t': 'x' } } },
    name: { q: pipe },
    links: { l2: link, l3: link }
  }
  const expected = layerFrom(directory(base())).expected
  await withScratch(async (scratch) => {
    for (const [name, change] of Object.entries(changes)) {
      const short = name.replace(' ', '-')
      const mounted = join(scratch, short)
      await mountImages(writeImages(scratch, layerFrom(directory({ ...base(), ...change })), short), 'two files', mounted)
      expect({ name, seen: compareTrees(await dumpTree(mounted), expected).length > 0 }).toEqual({ name, seen: true })
    }
  })
})

mounting('a flipped bit in the superblock block is refused by the kernel', async () => {
  await withScratch(async (scratch) => {
    const images = writeImages(scratch, layerFrom(specimen()))
    const bytes = readFileSync(images.meta)
    bytes.writeUInt8((bytes[1200] ?? 0) ^ 1, 1200)
    writeFileSync(images.meta, bytes)
    await expect(mountImages(images, 'two files', join(scratch, 'm'))).rejects.toThrow(/EBADMSG/)
  })
})

/** erofs-utils 1.5 extracts no xattrs or hard links and loses setuid and setgid in its chown; ext4 holds times up to 2446. */
function asExtracted (tree: Tree): Tree {
  return new Map([...tree].map(([path, entry]) =>
    [path, { ...entry, mode: entry.mode & 0o1777, links: null, sameFileAs: null, xattrs: {}, mtimeNs: 0n }]))
}

/** What fsck.erofs complains of; 1.5 exits with 0 after some complaints. */
async function complaints (...words: string[]): Promise<string> {
  return await run('fsck.erofs', words).then(({ stderr }) => stderr, (error: unknown) => String(error))
}

async function extractionDifferences (layer: Layer): Promise<string[]> {
  return await withScratch(async (scratch) => {
    const images = writeImages(scratch, layer)
    const checked = await complaints(`--device=${images.data}`, images.meta)
    const extracted = await complaints(`--extract=${join(scratch, 'x')}`, images.one)
    if (checked !== '' || extracted !== '') return [checked, extracted]
    return compareTrees(asExtracted(await dumpTree(join(scratch, 'x'))), asExtracted(layer.expected))
  })
}

describe('fsck.erofs accepts both forms and extracts the described tree from one file', () => {
  fsck('with one of everything', async () => {
    expect(await extractionDifferences(layerFrom(specimen()))).toEqual([])
  })

  fsck('whatever the tree is', async () => {
    await forRandomTrees(15, async (tree) => {
      expect(await extractionDifferences(layerFrom(tree))).toEqual([])
    })
  })

  fsck('and dump.erofs counts what was described', async () => {
    await withScratch(async (scratch) => {
      const layer = layerFrom(specimen())
      const { stdout } = await run('dump.erofs', ['-s', '-S', writeImages(scratch, layer).one])
      const kinds = [...layer.expected.values()].map((entry) => entry.type)
      expect(stdout).toMatch(new RegExp(`inode count: +${layer.index.inodes.length}\n`))
      expect(stdout).toMatch(new RegExp(`directory count:\\s+${kinds.filter((kind) => kind === 'directory').length}\n`))
      expect(stdout).toMatch(new RegExp(`regular file count:\\s+${kinds.filter((kind) => kind === 'file').length}\n`))
    })
  })

  fsck('but not an image whose directory entries were swapped', async () => {
    await withScratch(async (scratch) => {
      const images = writeImages(scratch, layerFrom(directory(many(300, (i) => [`aaa${String(i).padStart(3, '0')}`, pipe]))))
      const bytes = readFileSync(images.meta)
      bytes.write('z', bytes.indexOf('aaa00', 4096), 'latin1') // beyond block 0, which has a checksum
      writeFileSync(images.meta, bytes)
      expect(await complaints(`--device=${images.data}`, images.meta)).toMatch(/wrong dirent name order|unsorted|corrupt/i)
    })
  })
})

mounting('reading beyond a data device that is too short fails, it does not give zeros', async () => {
  await withScratch(async (scratch) => {
    const images = writeImages(scratch, layerFrom(directory({ a: file(randomBytes(20_000)) })))
    writeFileSync(images.data, readFileSync(images.data).subarray(0, 4096))
    await mountImages(images, 'two files', join(scratch, 'm'))
    expect(() => readFileSync(join(scratch, 'm', 'a'))).toThrow(/EIO/)
    await native('umount', join(scratch, 'm'))
  })
})
