import { expect, test } from '@jest/globals'
import { hasCode } from '../../src/base/errors.ts'
import { layoutData } from '../../src/layer/data-layout.ts'
import { type Description, layerFrom } from '../suites/layer-from-tree.ts'
import { forRandomTrees } from '../suites/random-trees.ts'

function sized (size: number): Description {
  return { kind: 'file', size, extents: [] }
}

test('files follow each other at block borders, others and empty ones have no place', () => {
  const { index } = layerFrom({
    kind: 'directory',
    entries: {
      a: sized(1), b: sized(0), c: sized(4096), d: { kind: 'symlink', target: 'a' }, e: sized(4097),
      f: { kind: 'directory', entries: {} }, g: sized(5)
    }
  })

  expect(layoutData(index)).toEqual({ fileOffsets: Float64Array.of(-1, 0, -1, 4096, -1, 8192, -1, 16_384), size: 20_480 })
})

test('a layer without contents has an empty device', () => {
  expect(layoutData(layerFrom({ kind: 'directory', entries: {} }).index)).toEqual({ fileOffsets: Float64Array.of(-1), size: 0 })
})

test('a file with two names has one place', () => {
  const file = sized(10)
  expect(layoutData(layerFrom({ kind: 'directory', entries: { a: file, b: file } }).index).size).toBe(4096)
})

test('implied attributes do not move anything', async () => {
  await forRandomTrees(50, async (tree) => {
    const { index } = layerFrom(tree)
    const inodes = index.inodes.map((inode) => ({ ...inode, mode: 0, uid: 7, xattrs: [], implied: inode.kind === 'directory' }))
    expect(layoutData({ ...index, inodes })).toEqual(layoutData(index))
  })
})

test('no two contents share a block', async () => {
  await forRandomTrees(50, async (tree) => {
    const { index } = layerFrom(tree)
    const { fileOffsets, size } = layoutData(index)
    let end = 0
    index.inodes.forEach((inode, position) => {
      const offset = fileOffsets[position] ?? NaN
      if (inode.kind !== 'file' || inode.size === 0) expect(offset).toBe(-1)
      else {
        expect(offset % 4096).toBe(0)
        expect(offset).toBeGreaterThanOrEqual(end)
        end = offset + inode.size
      }
    })
    expect(size).toBe(Math.ceil(end / 4096) * 4096)
  })
})

test('more than EROFS can address is LIMIT_EXCEEDED, one block less is not', () => {
  // Descriptions of holes hash their zeros: sizes are patched in afterwards instead.
  const index = (more: number): ReturnType<typeof layerFrom>['index'] => {
    const small = layerFrom({ kind: 'directory', entries: { a: sized(0), b: sized(0) } }).index
    return { ...small, inodes: small.inodes.map((inode, i) => i === 0 ? inode : { ...inode, size: i === 1 ? 8 * 2 ** 40 - 4096 : more }) }
  }

  expect(layoutData(index(4096)).size).toBe(8 * 2 ** 40)
  try {
    layoutData(index(4097))
    throw new Error('was accepted')
  } catch (error) {
    expect(hasCode(error, 'LIMIT_EXCEEDED')).toBe(true)
  }
})
