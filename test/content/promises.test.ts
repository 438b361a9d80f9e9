import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { PROMISES_MAX, RESOLVED_IMAGES_MAX } from '../../src/base/limits.ts'
import { type FetchFrom, Promises } from '../../src/content/promises.ts'
import { type Digest, digestOf } from '../../src/verify/digest.ts'
import { type VerifiedBytes, verifyDigest } from '../../src/verify/verified-bytes.ts'

const DOCUMENT = Buffer.from('{}')
const LAYER = { digest: digestOf(Buffer.from('layer')), size: 5, from: { cid: 'bafylayer', gateways: ['https://gateway.example'] } }
const verified = (bytes: Buffer): VerifiedBytes => verifyDigest(digestOf(bytes), bytes, 'test')

let folder: string
let promises: Promises
const asked: unknown[] = []
const fetch: FetchFrom = async function * (place, size) {
  asked.push([place, size])
  yield verified(Buffer.from('layer'))
}
const opened = (): Promises => new Promises(join(folder, 'promises.sqlite'), fetch, systemClock)
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'promises-'))
  promises = opened()
  asked.length = 0
})
afterEach(() => {
  promises.close()
  rmSync(folder, { recursive: true })
})

async function read (digest: Digest): Promise<string> {
  const pieces: Uint8Array[] = []
  for await (const piece of promises.fetch(digest, new AbortController().signal)) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

test('documents are kept themselves and layers by their place, over a restart', async () => {
  const digest = digestOf(DOCUMENT)
  promises.add([{ digest, size: 2, from: verified(DOCUMENT) }, LAYER])
  promises.close()
  promises = opened()
  expect([promises.find(digest)?.size, promises.find(LAYER.digest)?.size]).toEqual([2, 5])
  expect([await read(digest), await read(LAYER.digest)]).toEqual(['{}', 'layer'])
  expect(asked).toEqual([[LAYER.from, 5]])
})

test('what is renounced, or was never promised, is not found', async () => {
  promises.add([LAYER])
  promises.renounce(LAYER.digest)
  expect(promises.find(LAYER.digest)).toBeNull()
  await expect(read(LAYER.digest)).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('a newer promise takes the place of an older one, and the oldest are forgotten', () => {
  promises.add([LAYER])
  promises.add([{ ...LAYER, size: 6 }])
  expect(promises.find(LAYER.digest)?.size).toBe(6)
  promises.add(Array.from({ length: PROMISES_MAX }, (_, at) => ({ ...LAYER, digest: digestOf(Buffer.from(String(at))) })))
  expect(promises.find(LAYER.digest)).toBeNull()
  expect(promises.find(digestOf(Buffer.from('7')))).not.toBeNull()
})

test('images are remembered over a restart, the latest first, each with the name that a pull gave it once', () => {
  const image = (manifestDigest: string, name: string | null) =>
    ({ reference: `ipfs://bafy@${manifestDigest}`, name, manifestDigest, platform: 'linux/amd64', layers: ['sha256:a', 'sha256:b'] })
  promises.add([LAYER], image('sha256:1', 'shop/frontend'))
  promises.add([LAYER], image('sha256:2', null))
  promises.add([LAYER], image('sha256:1', null))
  promises.close()
  promises = opened()
  expect(promises.images()).toEqual([image('sha256:1', 'shop/frontend'), image('sha256:2', null)])
  for (let at = 0; at < RESOLVED_IMAGES_MAX; at++) promises.add([], image(`sha256:x${at}`, null))
  expect(promises.images().map(({ manifestDigest }) => manifestDigest)).toHaveLength(RESOLVED_IMAGES_MAX)
  expect(promises.images().map(({ manifestDigest }) => manifestDigest)).not.toContain('sha256:1')
})
