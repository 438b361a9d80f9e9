// The control client against a worker that sends anything: it closes the connection, dials again and serves on; never a
// crash, never work without end.
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { DataPlane } from '../../src/mount/data-plane.ts'
import { encodeFrame, FRAME, FrameParser, text, u32 } from '../../src/mount/frames.ts'
import { frameOf, HELLO, ScriptedWorker } from '../suites/scripted-worker.ts'

let state: string
let worker: ScriptedWorker
let plane: DataPlane
let fetched: string[]

beforeEach(async () => {
  state = mkdtempSync(join(tmpdir(), 'hostile-worker-'))
  fetched = []
  worker = await ScriptedWorker.start(join(state, 'data.sock'))
  plane = await DataPlane.connect({ state, native: null, readDeadlineMs: 1000 })
  plane.onFetch((name) => { fetched.push(name) })
})
afterEach(async () => {
  await plane.close()
  await worker.close()
  rmSync(state, { recursive: true })
})

/** The connection breaks, the next one gets these bytes, the one after it is served rightly: by one and the same client. */
async function survives (bytes: Uint8Array): Promise<void> {
  await worker.sendInstead(bytes)
  expect(await plane.list()).toEqual(['good'])
}

test.each([
  ['nothing', Buffer.alloc(0)],
  ['another version', frameOf(FRAME.HELLO, 0, u32(2, 1, 1, 1))],
  ['a HELLO cut short', HELLO.subarray(0, 9)],
  ['a frame before HELLO', frameOf(FRAME.NAMES, 1, u32(0))],
  ['an endless frame', Buffer.concat([HELLO, u32(0xffffffff), Buffer.alloc(100_000, 1)])],
  ['a frame of no length', Buffer.concat([HELLO, u32(0)])],
  ['a FETCH of four billion runs', Buffer.concat([HELLO, frameOf(FRAME.FETCH, 0, text('a'), u32(0xffffffff, 0, 1))])],
  ['a FETCH of four billion chunks', Buffer.concat([HELLO, frameOf(FRAME.FETCH, 0, text('a'), u32(1, 0, 0xffffffff))])],
  ['a FETCH beyond every table', Buffer.concat([HELLO, frameOf(FRAME.FETCH, 0, text('a'), u32(1, 0xffffffff, 1))])],
  ['many overlapping runs', Buffer.concat([HELLO, frameOf(FRAME.FETCH, 0, text('a'), u32(9), u32(...Array.from({ length: 9 }, () => [0, 6_000_000]).flat()))])],
  ['answers to nobody', Buffer.concat([HELLO, frameOf(FRAME.RESULT, 77, u32(0), text('')), frameOf(FRAME.STATUS_IS, 78, Buffer.from('{'))])]
])('survives a worker that sends %s', async (_, bytes) => {
  await survives(bytes)
  expect(fetched).toEqual([])
})

test('an answer that makes no sense rejects what asked for it, with one sentence', async () => {
  await plane.close()
  const { server } = worker
  server.removeAllListeners('connection')
  server.on('connection', (socket) => {
    const parser = new FrameParser()
    socket.on('error', () => {})
    socket.write(HELLO)
    socket.on('data', (data) => { for (const { id } of parser.push(data)) if (id !== 0) socket.write(frameOf(FRAME.NAMES, id, u32(5))) })
  })
  plane = await DataPlane.connect({ state, native: null, readDeadlineMs: 1000 })
  await expect(plane.list()).rejects.toMatchObject({ code: 'DATA_PLANE_DOWN', message: 'the data plane broke its protocol: a frame is cut short' })
  await expect(plane.addFile('x', '/c', new Uint8Array(0))).rejects.toBeInstanceOf(Error)
})

test('random and mutated frames never bring the client down', async () => {
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc.tuple(fc.constantFrom('good', 'x', ''), fc.uint8Array({ maxLength: 40 })).map(([name, rest]) => Buffer.concat([text(name), rest])),
    fc.tuple(fc.constantFrom('good', 'x'), fc.array(fc.tuple(fc.nat(30), fc.nat(30)), { maxLength: 5 }))
      .map(([name, runs]) => Buffer.concat([text(name), u32(runs.length, ...runs.flat())])))
  const frames = fc.array(fc.tuple(fc.nat(20), fc.nat(4), body), { maxLength: 10 })
  await fc.assert(fc.asyncProperty(frames, fc.option(fc.tuple(fc.nat(400), fc.nat(255))), async (list, mutation) => {
    const bytes = Buffer.concat([HELLO, ...list.flatMap(([type, id, part]) => encodeFrame(type, id, part))])
    if (mutation !== null) bytes[mutation[0] % bytes.byteLength] = mutation[1]
    await survives(bytes)
  }), { numRuns: 150 })
})
