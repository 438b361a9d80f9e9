import { afterAll, describe, expect, test } from '@jest/globals'
import { randomBytes } from 'node:crypto'
import { closeSync, ftruncateSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { openCarStore } from '../../src/ipfs/car-store.ts'
import { block, carBytes, DAG_CBOR, DAG_PB, identityCid, readCar, writeCar } from '../suites/dags.ts'

const folder = mkdtempSync(join(tmpdir(), 'car-store-'))
const fixtures = join(import.meta.dirname, '..', 'fixtures', 'cars')
afterAll(() => rmSync(folder, { recursive: true }))

function file (name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}

describe('a CAR store', () => {
  test.each(readdirSync(fixtures))('%s: gives back every block and names its roots', async (name) => {
    const path = join(fixtures, name)
    const { roots, blocks } = await readCar(readFileSync(path))
    const store = await openCarStore([path])

    expect(store.roots.map(String)).toEqual(roots.map(String))
    expect(store.blocks).toBe(new Set(blocks.filter(({ cid }) => cid.multihash.code !== 0).map(({ cid }) => cid.toString())).size)
    for (const { cid, bytes } of blocks) {
      expect(store.has(cid)).toBe(true)
      expect(Buffer.compare(await store.get(cid) ?? Buffer.alloc(0), bytes)).toBe(0)
    }
    await store.close()
  })

  test('all files together are one store in which no ordinal is given twice', async () => {
    const paths = readdirSync(fixtures).map((name) => join(fixtures, name))
    const all = (await Promise.all(paths.map(async (path) => (await readCar(readFileSync(path))).blocks))).flat()
    const hashed = all.filter(({ cid }) => cid.multihash.code !== 0)
    const distinct = new Map(hashed.map(({ cid }) => [Buffer.from(cid.multihash.digest).toString('hex'), cid]))
    const store = await openCarStore(paths)
    const ordinals = [...distinct.values()].map((cid) => store.ordinal(cid))

    expect(store.blocks).toBe(distinct.size)
    expect(new Set(ordinals).size).toBe(distinct.size)
    expect(ordinals.filter((ordinal) => ordinal === null || ordinal >= store.ordinals)).toEqual([])
    await store.close()
  })

  test('a block answers to every CID of its multihash, an absent one to none', async () => {
    const one = block('one')
    const store = await openCarStore([writeCar(join(folder, 'codecs.car'), [one.cid], [one])])

    for (const codec of [DAG_PB, DAG_CBOR, 0x0129]) {
      expect(await store.get(CID.createV1(codec, one.cid.multihash))).toEqual(Buffer.from('one'))
    }
    expect(await store.get(CID.createV0(one.cid.multihash as Parameters<typeof CID.createV0>[0]))).toEqual(Buffer.from('one'))
    expect(await store.get(block('two').cid)).toBeNull()
    expect(store.has(block('two').cid)).toBe(false)
    await store.close()
  })

  test('an identity CID is its own block, without a section and with one', async () => {
    const cid = identityCid('tiny')
    const store = await openCarStore([writeCar(join(folder, 'identity.car'), [cid], [{ cid, bytes: Buffer.from('tiny') }])])

    expect(Buffer.from(await store.get(cid) ?? [])).toEqual(Buffer.from('tiny'))
    expect(store.has(identityCid('other'))).toBe(true)
    expect(store.ordinal(cid)).toBeNull()
    expect([store.blocks, store.skipped]).toEqual([0, 0])
    await store.close()
  })

  test('sections with a hash that nobody here can check are left out and counted', async () => {
    const digest = randomBytes(32)
    const foreign = { cid: CID.createV1(0x55, createMultihash(0xb220, digest)), bytes: Buffer.from('blake') }
    const cut = { cid: CID.createV1(0x55, createMultihash(0x12, digest.subarray(0, 20))), bytes: Buffer.from('cut') }
    const good = block('good')
    const store = await openCarStore([writeCar(join(folder, 'foreign.car'), [good.cid], [foreign, cut, good])])

    expect([store.blocks, store.skipped]).toEqual([1, 2])
    expect([store.has(foreign.cid), store.has(cut.cid)]).toEqual([false, false])
    expect(await store.get(foreign.cid)).toBeNull()
    await store.close()
  })
})

describe('an untrusted disk', () => {
  test('no flipped bit of a block is ever served', async () => {
    const blocks = [block('first block'), block(randomBytes(5000)), block('last block')]
    const bytes = Buffer.from(carBytes([], blocks))
    for (const [index, { cid, bytes: content }] of blocks.entries()) {
      const at = bytes.indexOf(content)
      for (const bit of [0, content.byteLength * 4, content.byteLength * 8 - 1]) {
        const damaged = Buffer.from(bytes)
        damaged[at + (bit >>> 3)] = (damaged[at + (bit >>> 3)] ?? 0) ^ (1 << (bit & 7))
        const store = await openCarStore([file(`flip-${index}-${bit}.car`, damaged)])
        await expect(store.get(cid)).rejects.toMatchObject({ code: 'BLOCK_HASH_MISMATCH' })
        await store.close()
      }
    }
  })

  test('a block that is damaged in one file comes from another', async () => {
    const good = block('a block in two files')
    const bytes = Buffer.from(carBytes([], [good]))
    const damaged = Buffer.from(bytes)
    damaged[damaged.length - 1] = 0
    const store = await openCarStore([file('bad-copy.car', damaged), file('good-copy.car', bytes)])

    expect(await store.get(good.cid)).toEqual(Buffer.from('a block in two files'))
    expect([store.blocks, store.ordinals]).toEqual([1, 2])
    await store.close()
  })

  test('a file that shrinks under an open store is an error, not a short block', async () => {
    const good = block(randomBytes(1000))
    const path = writeCar(join(folder, 'shrinks.car'), [], [good])
    const store = await openCarStore([path])
    truncateSync(path, 500)

    await expect(store.get(good.cid)).rejects.toMatchObject({ code: 'CAR_TRUNCATED' })
    await store.close()
  })

  test('an aborted read does not read', async () => {
    const good = block('here')
    const store = await openCarStore([writeCar(join(folder, 'abort.car'), [], [good])])

    await expect(store.get(good.cid, { signal: AbortSignal.abort() })).rejects.toThrow('aborted')
    await store.close()
  })
})

describe('what is no CAR', () => {
  const whole = carBytes([block('x').cid], [block('x'), block(randomBytes(300))])
  const header = carBytes([], [])
  const section = (length: number, rest: Uint8Array): Buffer => {
    const varint: number[] = []
    for (let left = length; ; left = Math.floor(left / 128)) { varint.push(left % 128 + (left >= 128 ? 128 : 0)); if (left < 128) break }
    return Buffer.concat([header, Buffer.from(varint), rest])
  }
  const pragmaV2 = Buffer.from('0aa16776657273696f6e02', 'hex')

  test.each([
    ['an empty file', new Uint8Array(0), 'CAR_INVALID'],
    ['a text', 'Hello, I am a web page.\n'.repeat(50), 'CAR_INVALID'],
    ['a gzip file', Buffer.concat([Buffer.from('1f8b0800000000000003', 'hex'), randomBytes(100)]), 'CAR_INVALID'],
    ['a CAR version 2', Buffer.concat([pragmaV2, Buffer.alloc(40), whole]), 'CAR_INVALID'],
    ['a header of 1 GiB', Buffer.from('8080808004', 'hex'), 'CAR_INVALID'],
    ['a header that is cut', whole.subarray(0, 20), 'CAR_TRUNCATED'],
    ['a block that is cut', whole.subarray(0, whole.byteLength - 1), 'CAR_TRUNCATED'],
    ['a CID that is cut', whole.subarray(0, carBytes([block('x').cid], [block('x')]).byteLength + 12), 'CAR_TRUNCATED'],
    ['a length that is cut', Buffer.concat([whole, Buffer.from([0x80])]), 'CAR_TRUNCATED'],
    ['an endless length', Buffer.concat([whole, Buffer.alloc(20, 0xff)]), 'CAR_INVALID'],
    ['a padded length', Buffer.concat([header, Buffer.from([0xa5, 0x80, 0x00]), Buffer.alloc(40)]), 'CAR_INVALID'],
    ['zeros behind the blocks', Buffer.concat([whole, Buffer.alloc(20)]), 'CAR_INVALID'],
    ['a section without a CID', section(40, Buffer.alloc(40, 0xff)), 'CAR_INVALID'],
    ['a CID longer than its section', section(10, block('x').cid.bytes), 'CAR_INVALID'],
    ['a section of 3 MiB', section(3 << 20, block('x').cid.bytes), 'BLOCK_TOO_LARGE'],
    ['a block one byte over 2 MiB', section((2 << 20) + 37, Buffer.concat([block('x').cid.bytes, Buffer.alloc((2 << 20) + 1)])), 'BLOCK_TOO_LARGE']
  ])('%s is refused', async (name, bytes, code) => {
    const path = file(`${name.replaceAll(' ', '-')}.car`, bytes)
    const failure: unknown = await openCarStore([join(fixtures, 'layout-gzip-inline.car'), path]).catch((error: unknown) => error)

    expect(failure).toMatchObject({ code })
    expect(String(failure)).toContain(path)
    expect(String(failure)).not.toContain('\n')
  })

  test('a missing file and a folder are refused by name', async () => {
    await expect(openCarStore([join(folder, 'nowhere.car')])).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(openCarStore([folder])).rejects.toMatchObject({ code: 'CAR_INVALID', message: `${folder} is not a regular file` })
  })

  test('a block of exactly 2 MiB is taken', async () => {
    const large = block(randomBytes(2 << 20))
    const store = await openCarStore([writeCar(join(folder, 'large.car'), [], [large])])

    expect((await store.get(large.cid))?.byteLength).toBe(2 << 20)
    await store.close()
  })
})

test('a CAR of 1 GiB is indexed by its heads: little is read, little is kept', async () => {
  const sections = 1024
  const path = join(folder, 'sparse.car')
  const descriptor = openSync(path, 'w')
  const cids = Array.from({ length: sections }, () => CID.createV1(0x55, createMultihash(0x12, randomBytes(32))))
  let at = writeSync(descriptor, carBytes([], []), 0)
  const one = carBytes([], [{ cid: cids[0] as CID, bytes: Buffer.alloc(1 << 20) }]).subarray(at, at + 3) // the length, 3 bytes
  for (const cid of cids) {
    writeSync(descriptor, Buffer.concat([one, cid.bytes]), 0, 3 + cid.bytes.byteLength, at)
    at += 3 + cid.bytes.byteLength + (1 << 20)
  }
  ftruncateSync(descriptor, at)
  closeSync(descriptor)

  const before = { read: bytesRead(), memory: process.memoryUsage().arrayBuffers }
  const store = await openCarStore([path])
  const after = { read: bytesRead(), memory: process.memoryUsage().arrayBuffers }

  expect(store.blocks).toBe(sections)
  expect(cids.every((cid) => store.has(cid))).toBe(true)
  expect(after.read - before.read).toBeLessThan(16 << 20)
  expect(after.memory - before.memory).toBeLessThan(8 << 20)
  await expect(store.get(cids[sections - 1] as CID)).rejects.toMatchObject({ code: 'BLOCK_HASH_MISMATCH' })
  await store.close()
})

/** Bytes that this process has read from anywhere. */
function bytesRead (): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1])
}
