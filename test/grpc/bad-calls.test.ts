// Calls that no containerd makes, over a real socket: each has the status that containerd's own services would give it, and
// afterwards the server serves, and nothing is open or on the disk that was not before.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { type ClientDuplexStream, type ClientReadableStream, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { LABELS_MAX } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import { ContentStore } from '../../src/content/content-store.ts'
import { serviceOf } from '../../src/grpc/protocol.ts'
import { type GrpcServer, serveContainerd } from '../../src/grpc/server.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { until } from '../e2e/command.ts'
import { BindLayers } from '../suites/bind-layers.ts'
import { connectAs, NOBODY } from '../suites/other-user.ts'
import { type SnapshotsClient, snapshotsClient } from '../suites/snapshots-client.ts'

const BLOB = randomBytes(24 << 20)
const asRoot = process.getuid?.() === 0 ? test : test.skip

interface Content {
  readonly Read: (request: object) => ClientReadableStream<{ readonly data: Uint8Array }>
  readonly Write: () => ClientDuplexStream<object, { readonly offset: number, readonly digest: string }>
  readonly Info: (request: object, metadata: Metadata, answer: (error: ServiceError | null) => void) => void
  readonly close: () => void
}

let folder: string
let address: string
let snapshotters: Snapshotters
let store: ContentStore
let server: GrpcServer
let client: SnapshotsClient
let content: Content
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bad-calls-'))
  address = join(folder, 'state/s.sock')
  snapshotters = await Snapshotters.open({ root: join(folder, 'root'), layers: new BindLayers(), log: silentLog })
  store = await ContentStore.open({ folder: join(folder, 'content'), log: silentLog, clock: systemClock })
  server = await serveContainerd({ address, snapshotters, content: store, log: silentLog })
  client = snapshotsClient(address, 'ipfs')
  content = new (serviceOf('content'))(`unix:${address}`, credentials.createInsecure()) as unknown as Content
})
afterEach(async () => {
  content.close()
  await client.close()
  await server.stop()
  await snapshotters.close()
  await store.close()
  rmSync(folder, { recursive: true })
})

const directories = (): string[] => readdirSync(join(folder, 'root/snapshots/ipfs'))
/** Files of the content store that this process has open, but its database. */
const openFiles = (): string[] => readdirSync('/proc/self/fd').flatMap((fd) => {
  try {
    return [readlinkSync(`/proc/self/fd/${fd}`)]
  } catch {
    return []
  }
}).filter((path) => path.startsWith(join(folder, 'content')) && !path.includes('.sqlite'))

/** One call of raw bytes; gRPC's status, or null when the stream was only cut. */
async function raw (path: string, body: Buffer, headers: Record<string, string> = {}): Promise<number | null> {
  const session = connectHttp2('http://localhost', { createConnection: () => connect(address) })
  try {
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...headers })
    let code: number | null = null
    const note = (fields: Record<string, unknown>): void => { if (fields['grpc-status'] !== undefined) code = Number(fields['grpc-status']) }
    stream.on('response', note).on('trailers', note).on('error', () => {}).resume()
    stream.end(body)
    await once(stream, 'close')
    return code
  } finally {
    session.destroy()
  }
}

/** A message in gRPC's frame, which may lie about it. */
function framed (message: Buffer, { length = message.length, compressed = 0 } = {}): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt8(compressed)
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, message])
}

const PREPARE = '/containerd.services.snapshots.v1.Snapshots/Prepare'
describe('bytes that are no request', () => {
  test.each([
    ['no protobuf', PREPARE, framed(Buffer.alloc(40, 0xff)), status.INTERNAL],
    ['a field of another type', PREPARE, framed(Buffer.from([0x08, 0x01])), null],
    ['a frame over the limit', PREPARE, framed(Buffer.alloc(9), { length: 0xffff_fff0 }), status.RESOURCE_EXHAUSTED],
    ['a compression that nobody named', PREPARE, framed(Buffer.alloc(9), { compressed: 1 }), status.INTERNAL],
    ['two requests of one call', PREPARE, Buffer.concat([framed(Buffer.alloc(0)), framed(Buffer.alloc(0))]), null],
    ['no request', PREPARE, Buffer.alloc(0), null],
    ['an unknown method', PREPARE.replace('Prepare', 'Format'), framed(Buffer.alloc(0)), status.UNIMPLEMENTED],
    ['an unknown service', '/containerd.services.tasks.v1.Tasks/Kill', framed(Buffer.alloc(0)), status.UNIMPLEMENTED],
    ['a path that is none', '/../../etc/passwd', framed(Buffer.alloc(0)), status.UNIMPLEMENTED]
  ])('have a status that is no success: %s', async (_what, path, bytes, want) => {
    const code = await raw(path, bytes)
    if (want === null) expect(code).toBeGreaterThan(0)
    else expect(code).toBe(want)
    await client.prepare('still served', '', {})
    expect(directories()).toHaveLength(1)
  })

  test('that are not even HTTP/2 end their connection alone', async () => {
    const socket = connect(address)
    socket.on('error', () => {})
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    socket.resume()
    await once(socket, 'close')
    await client.prepare('still served', '', {})
  })
})

describe('labels', () => {
  test('that are too many or too long are refused, and nothing is made', async () => {
    const many = Object.fromEntries(Array.from({ length: LABELS_MAX + 1 }, (_, at) => [`label-${at}`, 'x']))
    const all = Object.fromEntries(Array.from({ length: 20_000 }, (_, at) => [`label-${at}`, 'x']))
    for (const labels of [many, all, { long: 'x'.repeat(5_000) }, { ['k'.repeat(5_000)]: 'x' }, { '': 'no key' }]) {
      for (const method of ['Prepare', 'View']) {
        await expect(client.call(method, { key: 'a', labels })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
      }
    }
    await client.prepare('b', '', {})
    await expect(client.commit('c', 'b', many)).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
    await expect(client.update('b', many, ['labels'])).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
    expect(directories()).toHaveLength(1)
    expect((await client.stat('b')).kind).toBe('active')
  })

  test('with names of JavaScript\'s own change nothing of it', async () => {
    await client.prepare('a', '', { constructor: 'c', toString: 't' })
    await client.call('Prepare', { key: 'b', labels: JSON.parse('{"__proto__":"p","x":"y"}') as object })
    expect((await client.stat('a')).labels).toEqual({ constructor: 'c', toString: 't' })
    expect((await client.stat('b')).labels).toMatchObject({ x: 'y' })
    expect(({} as Record<string, unknown>)['x']).toBeUndefined()
  })
})

describe('parents and keys', () => {
  test('that are unknown, not committed or empty have their own status', async () => {
    await client.prepare('a', '', {})
    for (const method of ['Prepare', 'View']) {
      await expect(client.call(method, { key: 'b', parent: 'none' })).rejects.toMatchObject({ code: status.NOT_FOUND })
      await expect(client.call(method, { key: 'b', parent: 'a' })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
      await expect(client.call(method, { key: '' })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
    }
    for (const method of ['Mounts', 'Remove', 'Stat', 'Usage']) {
      await expect(client.call(method, { key: 'none' })).rejects.toMatchObject({ code: status.NOT_FOUND })
    }
    expect(directories()).toHaveLength(1)
  })

  test('that many callers ask for at once belong to one of them', async () => {
    for (const key of ['a', 'b']) {
      const outcomes = await Promise.allSettled(Array.from({ length: 50 }, async () => await client.prepare(key, '', {})))
      expect(outcomes.filter((one) => one.status === 'fulfilled')).toHaveLength(1)
      for (const one of outcomes) if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: status.ALREADY_EXISTS })
    }
    await until('nothing young is left', () => directories().length === 2)
  })
})

describe('a client that goes in the middle', () => {
  async function put (ref: string): Promise<void> {
    const call = content.Write()
    call.write({ action: 'WRITE', ref, data: BLOB.subarray(0, 12 << 20) })
    await once(call, 'data')
    call.write({ action: 'WRITE', ref, offset: 12 << 20, data: BLOB.subarray(12 << 20) })
    await once(call, 'data')
    call.write({ action: 'COMMIT', ref, offset: BLOB.length, total: BLOB.length, expected: digestOf(BLOB) })
    await once(call, 'data')
    call.end()
    await once(call.resume(), 'end')
  }
  const left = async (call: ClientReadableStream<unknown>): Promise<void> => {
    const gone = once(call, 'error')
    call.cancel()
    expect((await gone)[0]).toMatchObject({ code: status.CANCELLED })
  }

  test('of a Read leaves no file open', async () => {
    await put('ref')
    for (let times = 0; times < 5; times++) {
      const call = content.Read({ digest: digestOf(BLOB) })
      await once(call, 'data')
      call.pause() // the server waits for us to take more
      expect(openFiles().length).toBeGreaterThan(0)
      await left(call)
    }
    await until('all files are closed', () => openFiles().length === 0)
  })

  test('of a Write leaves its bytes to whoever goes on, and no lock', async () => {
    const call = content.Write()
    call.write({ action: 'WRITE', ref: 'ref', data: BLOB.subarray(0, 1 << 20) })
    await once(call, 'data')
    await left(call)
    await until('all files are closed', () => openFiles().length === 0)
    const again = content.Write()
    again.write({ action: 'STAT', ref: 'ref' })
    expect((await once(again, 'data'))[0]).toMatchObject({ offset: 1 << 20 })
    again.write({ action: 'WRITE', ref: 'ref', offset: 5, data: BLOB.subarray(0, 9) })
    expect((await once(again, 'error'))[0]).toMatchObject({ code: status.OUT_OF_RANGE })
    expect(await store.statuses([])).toHaveLength(1)
    await store.abort('ref')
    await put('ref')
    expect(readdirSync(join(folder, 'content/ingest'))).toEqual([])
  })

  test('of a List leaves the database to others', async () => {
    const labels = Object.fromEntries(['a', 'b', 'c'].map((key) => [key, 'x'.repeat(4_000)]))
    for (let at = 0; at < 220; at++) await client.prepare(`key-${at}`, '', labels)
    for (let times = 0; times < 5; times++) {
      for await (const { name } of client.list([])) if (name !== '') break // leaving the loop cancels the call
    }
    expect((await client.blocks([])).reduce((sum, size) => sum + size)).toBe(220)
    await client.prepare('still served', '', {})
  })
})

describe('what is no blob or lies outside of it', () => {
  const answer = async (call: ClientReadableStream<unknown>): Promise<number> => (await once(call.resume(), 'error') as [ServiceError])[0].code
  test('has its status', async () => {
    for (const digest of ['', 'sha256:abc', `sha256:${'A'.repeat(64)}`, `sha512:${'0'.repeat(128)}`, '../../etc/passwd']) {
      expect(await answer(content.Read({ digest }))).toBe(status.INVALID_ARGUMENT)
    }
    expect(await answer(content.Read({ digest: digestOf(BLOB) }))).toBe(status.NOT_FOUND)
    const ingest = await store.ingest('small', 3, '')
    await ingest.write(Buffer.from('abc'))
    const digest = await store.commit(ingest, 3, '', {})
    expect(await answer(content.Read({ digest, offset: 4 }))).toBe(status.OUT_OF_RANGE)
    expect(await answer(content.Read({ digest, offset: '9223372036854775807' }))).toBe(status.OUT_OF_RANGE)
    expect((await once(content.Read({ digest, offset: 1, size: '9223372036854775807' }), 'data'))[0]).toMatchObject({ data: Buffer.from('bc') })
  })
})

asRoot('another user cannot connect, by the mode of the socket alone', () => {
  for (const open of [folder, dirname(address)]) chmodSync(open, 0o755)
  expect([connectAs(0, address), connectAs(NOBODY, address)]).toEqual(['connected', 'EACCES'])
})
