// Frames that break the protocol close their connection and nothing else; random bytes never bring the worker down.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import { encodeFrame, FRAME, u32, text } from '../../src/mount/frames.ts'
import { DataPlaneFixture, dataPlaneSkipReason, expected, type Range, type TestFile, until } from '../suites/data-plane-fixture.ts'

if (dataPlaneSkipReason !== null) process.stderr.write(`hostile client tests skipped: ${dataPlaneSkipReason}\n`)
const suite = dataPlaneSkipReason === null ? describe : describe.skip

const HELLO = Buffer.concat(encodeFrame(FRAME.HELLO, 0, u32(1)))

suite('a client that breaks the protocol', () => {
  let plane: DataPlaneFixture
  let file: TestFile
  let worker: number

  beforeAll(async () => {
    plane = await DataPlaneFixture.start()
    file = await plane.addFile('a', [10_000, 200_000, 5])
    worker = plane.plane.worker?.pid ?? 0
  })
  afterAll(async () => { await plane[Symbol.asyncDispose]() })

  /** Sends the bytes; resolves when the worker closed the connection, or with `half` closed by us, when it answered that. */
  async function send (...parts: readonly Uint8Array[]): Promise<'closed'> {
    const socket: Socket = connect({ path: join(plane.state, 'data.sock') })
    socket.on('error', () => {})
    socket.resume()
    const closed = new Promise<'closed'>((resolve) => socket.once('close', () => { resolve('closed') }))
    socket.write(Buffer.concat(parts))
    return await closed
  }

  async function stillServes (): Promise<void> {
    await until(() => plane.plane.connected)
    const range: Range = [file, 0, file.content.byteLength]
    expect(await plane.read([range])).toEqual(expected([range]))
    expect((await plane.plane.status()).pid).toBe(worker)
  }

  const frame = (type: number, ...body: Uint8Array[]): Buffer => Buffer.concat(encodeFrame(type, 1, ...body))
  const raw = (length: number, ...rest: number[]): Buffer => Buffer.concat([u32(length), Buffer.from(rest)])

  test.each([
    ['a length of zero', raw(0)],
    ['a length above the limit', raw(24 * 1024 * 1024 + 1)],
    ['the largest length there is', raw(0xffffffff)],
    ['another first frame than HELLO', frame(FRAME.LIST)],
    ['another version', frame(FRAME.HELLO, u32(2))],
    ['a HELLO without a version', frame(FRAME.HELLO)],
    ['reserved bytes that are set', raw(8, 1, 1, 0, 0, 0, 0, 0, 0)],
    ['an unknown type after HELLO', Buffer.concat([HELLO, frame(99)])],
    ['a frame of the worker', Buffer.concat([HELLO, frame(FRAME.FETCH, text('a'), u32(1, 0, 1))])],
    ['a string longer than its frame', Buffer.concat([HELLO, frame(FRAME.REMOVE_FILE, Buffer.from([0xff, 0xff, 65]))])],
    ['a SUPPLY cut after its name', Buffer.concat([HELLO, frame(FRAME.SUPPLY, text('a'))])],
    ['a FAIL with bytes left over', Buffer.concat([HELLO, frame(FRAME.FAIL, text('a'), u32(0, 1, 5, 7))])],
    ['a LIST with a body', Buffer.concat([HELLO, frame(FRAME.LIST, u32(1))])],
    ['an ADD_FILE without anything', Buffer.concat([HELLO, frame(FRAME.ADD_FILE)])]
  ])('%s: the connection is closed, all else goes on', async (_, bytes) => {
    expect(await send(bytes)).toBe('closed')
    await stillServes()
  })

  test('garbage before HELLO does not disturb the client that is served', async () => {
    const before = plane.plane.worker
    await send(Buffer.alloc(4096, 0xaa))

    expect(plane.plane.worker).toBe(before)
  })

  test('out-of-range chunks and files that are not there are answered, not obeyed', async () => {
    await expect(plane.plane.need('a', 2, 5)).rejects.toThrow('no such chunks')
    await expect(plane.plane.need('a', 0xffffffff, 0xffffffff)).rejects.toThrow('no such chunks')
    await expect(plane.plane.need('nobody', 0, 1)).rejects.toThrow('no such file')
    plane.plane.fail('a', 0xffffffff, 0xffffffff, 0xffffffff)
    await plane.plane.supply('a', 'raw', 0xffffffff, 0xffffffff, Buffer.alloc(10))
    await plane.plane.supply('nobody', 'gzip', 0, 1, Buffer.alloc(10))
    await plane.plane.removeFile('nobody')
    await stillServes()
  })

  test('random frames never bring the worker down', async () => {
    const body = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.tuple(fc.constantFrom('a', 'b', '', '..', 'x'.repeat(300)), fc.uint8Array({ maxLength: 60 }))
        .map(([name, rest]) => Buffer.concat([text(name), rest])),
      fc.tuple(fc.constantFrom(0, 1, 2, 255), fc.nat(4), fc.nat(4), fc.uint8Array({ maxLength: 400 }))
        .map(([encoding, first, count, rest]) => Buffer.concat([text('a'), Buffer.from([encoding, 0, 0, 0]), u32(first, count), rest]))
    )
    // STOP is obeyed, SETTINGS could set a deadline of 1 ms: neither is garbage.
    const types = fc.integer({ min: 0, max: 20 }).filter((type) => type !== FRAME.STOP && type !== FRAME.SETTINGS && type !== FRAME.REMOVE_FILE)
    const frames = fc.array(fc.tuple(types, fc.integer({ min: 0, max: 3 }), body), { minLength: 1, maxLength: 12 })
    await fc.assert(fc.asyncProperty(frames, fc.uint8Array({ maxLength: 40 }), async (list, tail) => {
      const stream = Buffer.concat([HELLO, ...list.flatMap(([type, id, bytes]) => encodeFrame(type, id, bytes)), tail])
      const socket = connect({ path: join(plane.state, 'data.sock') })
      socket.on('error', () => {})
      socket.resume()
      const closed = new Promise((resolve) => socket.once('close', resolve))
      socket.end(stream)
      await closed
    }), { numRuns: 150 })
    await stillServes()
    expect((await plane.plane.status()).restarts).toBe(0)
  })
})
