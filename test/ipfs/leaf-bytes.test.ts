// What a file's root tells about its leaves: a hint for cutting ranges, never trusted for more.
import { expect, test } from '@jest/globals'
import { CID } from 'multiformats/cid'
import type { Exchange } from '../../src/ipfs/exchange.ts'
import { OpenFile } from '../../src/ipfs/unixfs-file.ts'
import type { FileNode } from '../../src/ipfs/unixfs-node.ts'

const KIB = 1024
const cid = CID.parse('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')

function leafBytesOf (...sizes: number[]): number {
  const starts = Float64Array.of(0, ...sizes.map((_, at) => sizes.slice(0, at + 1).reduce((sum, size) => sum + size, 0)))
  const node = { size: starts.at(-1) ?? 0, children: sizes.length, starts } as Partial<FileNode> as FileNode
  return new OpenFile(Object.create(null) as Exchange, { cid, node }).leafBytes
}

test.each<[string, number[], number]>([
  ['leaves of 256 KiB', [256 * KIB, 256 * KIB, 7], 256 * KIB],
  ['leaves of 1 MiB', [1024 * KIB, 7], 1024 * KIB],
  ['a level between, above 256 KiB', [1024 * 256 * KIB, 256 * KIB], 256 * KIB],
  ['a level between, above 1 MiB', [1024 * 1024 * KIB, 9], 1024 * KIB],
  ['no children', [], 1024 * KIB],
  ['tiny leaves: as if they were larger', [4 * KIB, 4 * KIB], 128 * KIB],
  ['an empty leaf', [0, 5], 1024 * KIB],
  ['no size that fits', [3 * 1024 * KIB + 1, 5], 1024 * KIB]
])('%s', (_name, sizes, expected) => {
  expect(leafBytesOf(...sizes)).toBe(expected)
})
