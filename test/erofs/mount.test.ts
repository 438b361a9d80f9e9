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
import { aclFor, forRandomTrees } from '../suites/random-trees.ts'
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

function file (content: Uint8Array | string, rest: object = {}): Description {
  return { kind: 'file', content: Buffer.from(content), ...rest }
}

function directory (entries: Record<string, Description>, rest: object = {}): Description {
  return { kind: 'directory', entries, ...rest }
}

function many (count: number, make: (i: number) => [string, Description]): Record<string, Description> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => make(i)))
}

const shared = file(randomBytes(300_000), { mtime: [-2, 500_000_000], xattrs: { 'user.bin': Buffer.from('000102ff0a3d00', 'hex') } })
const pipe: Description = { kind: 'fifo', mode: 0o600, xattrs: { 'trusted.t': 'x' } }
const link: Description = { kind: 'symlink', target: 'nowhere', xattrs: { 'security.selinux': 'label' } }

/** One of everything; wide and exact directories; every kind of hard link. */
function specimen (): Description {
  return directory({
    one: shared,
    deep: directory({ two: shared, pipe, link, three: directory({ four: shared }) }, { mode: 0o1777 }),
    pipe,
    link,
    '!bang': file('!'), '-dash': file('-'), '.-x': file('.-'), '..a': file('..a'), '.hidden': file('h'), '...': file('...'),
    ['n'.repeat(255)]: file('long'), 'caf\xE9 \n\\': file('bytes'),
    modes: directory(many(64, (i) => [`m${i}`, file('x', { mode: (i * 0o101 + i * 64) & 0o7777 })]), { mode: 0 }),
    times: directory({
      early: file('', { mtime: [-62_135_596_800, 1] }),
      late: file('', { mtime: [253_402_300_799, 999_999_999] }),
      y2038: file('', { mtime: [2 ** 31, 5] })
    }),
    owners: directory({ big: file('', { uid: 2 ** 32 - 2, gid: 2 ** 31 }), edge: file('', { uid: 65535, gid: 65536 }) }),
    devices: directory({
      null: { kind: 'char', device: [1, 3], mode: 0o666 },
      disk: { kind: 'block', device: [4095, 1_048_575] },
      whiteout: { kind: 'char', device: [0, 0], mode: 0 }
    }),
    sizes: directory(many(9, (i) => [`s${4092 + i}`, file(randomBytes(4092 + i))])),
    sparse: {
      kind: 'file',
      size: 6 * 2 ** 20,
      extents: [{ offset: 123_456, content: randomBytes(70_000) }, { offset: 5 * 2 ** 20, content: randomBytes(10) }]
    },
    hole: { kind: 'file', size: 1_000_000, extents: [] },
    wide: directory(many(4000, (i) => [`file-${i}`, file('')])),
    links: directory(many(1200, (i) => [`link-${'l'.repeat(i % 40)}${i}`, shared])),
    manyDirectories: directory(many(300, (i) => [`d${i}`, directory({})])),
    xattrs: directory({
      forty: file('', { xattrs: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`user.x${i}`, `value ${i}`])) }),
      long: file('', { xattrs: { 'user.long': Buffer.alloc(65_535, 1), 'trusted.long': Buffer.alloc(60_000, 2) } }),
      wide: directory({ child: file('') }, { xattrs: { 'user.long': Buffer.alloc(5000, 3) } }),
      empty: file('', { xattrs: { 'user.empty': '' } }),
      labels: directory(many(300, (i) =>
        [`l${i}`, file('', { xattrs: { 'security.selinux': 'system_u:object_r:bin_t:s0', 'user.i': String(i % 3) } })])),
      acl: directory({ file: file('', { mode: 0o640, xattrs: { 'system.posix_acl_access': aclFor(0o640, 1000) } }) },
        { mode: 0o770, xattrs: { 'system.posix_acl_access': aclFor(0o770, 1), 'system.posix_acl_default': aclFor(0o777, 2) } })
    })
  }, { mtime: [1_700_000_000, 123_456_789], mode: 0o711 })
}

/** Directory sizes and link targets on both sides of what fits behind an inode, and of whole blocks. */
function edges (): Description {
  const entries: Record<string, Description> = {}
  for (let bytes = 3950; bytes <= 4170; bytes++) entries[`dir-${bytes}`] = directory(namesOf(bytes - 27)) // `.` and `..` take 27
  for (let bytes = 4000; bytes <= 4095; bytes++) {
    entries[`link-${bytes}`] = { kind: 'symlink', target: 't'.repeat(bytes), mtime: [bytes % 2, 0] }
  }
  return directory(entries)
}

/** Names that take `bytes` in a directory: 12 each and their length. */
function namesOf (bytes: number): Record<string, Description> {
  const names: Record<string, Description> = {}
  for (let left = bytes, i = 0; left > 0; i++) {
    const length = left - 12 <= 250 ? left - 12 : Math.min(200, left - 12 - 20)
    names[String(i).padStart(3, '0').padEnd(length, 'p')] = pipe
    left -= 12 + length
  }
  return names
}

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
