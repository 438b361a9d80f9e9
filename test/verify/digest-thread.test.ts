import { createHash } from 'node:crypto'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { DIGEST_RING_BYTES, DIGEST_THREAD_BYTES } from '../../src/base/limits.ts'
import { longDigest, type LongDigest } from '../../src/verify/digest-thread.ts'

const MANY = createHash('shake256', { outputLength: 3 * DIGEST_RING_BYTES }).update('many').digest()
const inThread = (): LongDigest => longDigest(DIGEST_THREAD_BYTES + 1)
const sha256 = (...parts: readonly Uint8Array[]): string => `sha256:${createHash('sha256').update(Buffer.concat(parts)).digest('hex')}`

/** Bytes that change once they were taken: whoever kept them has others. */
async function feed (to: LongDigest, pieces: readonly Uint8Array[]): Promise<void> {
  for (const piece of pieces) {
    const own = Uint8Array.from(piece)
    await to.update(own)
    own.fill(0xee)
  }
}

async function digestOf (to: LongDigest, pieces: readonly Uint8Array[]): Promise<string> {
  try {
    await feed(to, pieces)
    return await to.digest()
  } finally {
    to.drop()
  }
}

test('is the sha256 of the pieces, however they are cut, longer than the ring or empty', async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.nat(MANY.byteLength / 2), { maxLength: 8 }), async (lengths) => {
    const pieces = lengths.map((length, at) => MANY.subarray(at, at + length))
    const stream = inThread()
    expect(await digestOf(stream, pieces)).toBe(sha256(...pieces))
    expect(stream.bytes).toBe(lengths.reduce((sum, length) => sum + length, 0))
  }), { numRuns: 20 })
}, 60_000)

test('goes round the ring more often than its counters can count', async () => {
  const rounds = 2 ** 32 / MANY.byteLength + 1
  const expected = createHash('sha256')
  const stream = inThread()
  for (let round = 0; round < rounds; round++) {
    expected.update(MANY)
    await stream.update(MANY)
  }
  expect(await stream.digest()).toBe(`sha256:${expected.digest('hex')}`)
  stream.drop()
}, 120_000)

test('keeps streams apart that go on at once, and those that are given up', async () => {
  const dropped = inThread()
  await feed(dropped, [MANY])
  const streams = Array.from({ length: 5 }, (_, at) => digestOf(inThread(), [MANY.subarray(at), MANY.subarray(at, 1000), MANY]))
  dropped.drop()
  dropped.drop()
  expect(await Promise.all(streams)).toEqual(streams.map((_, at) => sha256(MANY.subarray(at), MANY.subarray(at, 1000), MANY)))
})

test('a short stream is hashed here, with the same answer', async () => {
  expect(await digestOf(longDigest(DIGEST_THREAD_BYTES), [MANY, MANY.subarray(0, 7)])).toBe(sha256(MANY, MANY.subarray(0, 7)))
})

test('keeps no process alive that has dropped its streams, and a process that waits for an answer gets it', async () => {
  const program = `import { longDigest } from '${join(import.meta.dirname, '../../src/verify/digest-thread.ts')}'
    const [first, second] = [longDigest(Infinity), longDigest(Infinity)]
    await first.update(new Uint8Array(${2 * DIGEST_RING_BYTES}))
    await second.update(new Uint8Array(5))
    process.stdout.write(await first.digest())
    first.drop()
    second.drop()`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module-typescript', '--eval', program], { timeout: 60_000 })
  expect(stdout).toBe(sha256(new Uint8Array(2 * DIGEST_RING_BYTES)))
}, 90_000)
