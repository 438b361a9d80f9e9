// Directories against CIDs that Kubo 0.42 gave to the same ones under profile unixfs-v1-2025.
import { expect, test } from '@jest/globals'
import type { CarFile } from '../../src/publish/car-writer.ts'
import { type Link, rawCid } from '../../src/publish/dag-pb.ts'
import { writeDirectory } from '../../src/publish/unixfs-directory.ts'

/** `count` entries named by number (64 digits, as blobs are), each a file that holds its number. */
function numbered (count: number): Link[] {
  return Array.from({ length: count }, (_, at) => ({ name: at.toString(16).padStart(64, '0'), cid: rawCid(Buffer.from(String(at))), tsize: String(at).length }))
}

/** A block of 262,144 bytes and one more for each letter beyond 43 in the last name; files hold `x`. */
function atTheLimit (letters: number): Link[] {
  return [...numbered(2426).map(({ name }) => name), 'y', 'z'.repeat(letters)].map((name) => ({ name, cid: rawCid(Buffer.from('x')), tsize: 1 }))
}

test.each<[string, Link[], string, boolean]>([
  ['nothing', [], 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354', false],
  ['2,300 entries', numbered(2300), 'bafybeic5rc2vju3u62bmcbrqgko6eaysfzchcidbcbidx3mectsmhc4gxe', false],
  ['a block of exactly 262,144 bytes', atTheLimit(43), 'bafybeigtcmbbda7mwqjbof42654x6fkfaqnacv2to2446o2lksa4tdsoca', false],
  ['a block that would have one byte more', atTheLimit(44), 'bafybeibn2ernzyalo2eyb6six6m3qmqchcert3opusixjic6c3g2w3ltw4', true],
  ['2,500 entries', numbered(2500), 'bafybeihblbxuxk24ttsvh7ol6g4uy7ifzpd27ulamsyhckv2ucwhldbx7e', true],
  ['6,000 entries', numbered(6000), 'bafybeiel5iifj2wtkj55f5iz666gr7llg2k4vzhysm5n3kywvl2g5lh4eu', true]
])('a directory of %s has the CID that Kubo gives it', async (_what, entries, cid, sharded) => {
  const blocks: Uint8Array[] = []
  const car: Pick<CarFile, 'put'> = {
    put: async (_cid, bytes) => {
      blocks.push(bytes)
      return { offset: 0, length: bytes.byteLength }
    }
  }
  const shuffled = [...entries].reverse()
  const written = await writeDirectory(car, shuffled)

  expect(written.cid.toString()).toBe(cid)
  expect(blocks.length > 1).toBe(sharded)
  expect(written.tsize).toBe(blocks.reduce((sum, { byteLength }) => sum + byteLength, 0) + entries.reduce((sum, { tsize }) => sum + tsize, 0))
})
