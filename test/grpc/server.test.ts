import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { credentials, status } from '@grpc/grpc-js'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { ERROR_CODES, grpcStatusOf, SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { serviceOf } from '../../src/grpc/protocol.ts'
import { type GrpcServer, serveContainerd } from '../../src/grpc/server.ts'
import { fromStatus, toStatus } from '../../src/grpc/status.ts'
import { fromTimestamp, toTimestamp } from '../../src/grpc/wire.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { BindLayers } from '../suites/bind-layers.ts'
import { type SnapshotsClient, snapshotsClient } from '../suites/snapshots-client.ts'

let folder: string
let address: string
let layers: BindLayers
let snapshotters: Snapshotters
let server: GrpcServer
let client: SnapshotsClient
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'grpc-'))
  address = join(folder, 'sub/snapshots.sock')
  layers = new BindLayers()
  snapshotters = await Snapshotters.open({ root: join(folder, 'root'), layers, log: silentLog })
  server = await serveContainerd({ address, snapshotters, log: silentLog })
  client = snapshotsClient(address, 'ipfs')
})
afterEach(async () => {
  await client.close()
  await server.stop()
  await snapshotters.close()
  rmSync(folder, { recursive: true })
})

const CHAIN = `sha256:${'0'.repeat(64)}`

describe('the service', () => {
  test('answers calls without a namespace, as garbage collection makes them', async () => {
    await client.call('Prepare', { key: 'a' }, '')
    await client.call('Remove', { key: 'a' }, '')
    await client.call('Cleanup', {}, '')
    expect(await client.blocks([])).toEqual([])
  })

  test('maps refusals to status codes, with our line as text', async () => {
    await client.prepare('a', '', {})
    await expect(client.prepare('a', '', {})).rejects.toMatchObject({ code: status.ALREADY_EXISTS, details: 'ALREADY_EXISTS: snapshot "a" exists already' })
    await expect(client.stat('none')).rejects.toMatchObject({ code: status.NOT_FOUND, details: 'NOT_FOUND: snapshot "none" does not exist' })
    await expect(client.prepare('b', 'a', {})).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
    await expect(client.blocks(['=='])).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
    await expect(client.call('Update', {})).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
    await expect(client.call('Usage', { key: 'none' })).rejects.toMatchObject({ code: status.NOT_FOUND })
    await expect(client.call('Stat', { snapshotter: '../etc', key: 'a' })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
    layers.beforeMount = async () => { throw new SnapshotterError('BLOCK_HASH_MISMATCH', 'block bafk from gw has other bytes') }
    await expect(client.prepare('c', '', { 'containerd.io/snapshot.ref': CHAIN }))
      .rejects.toMatchObject({ code: status.DATA_LOSS, details: 'BLOCK_HASH_MISMATCH: block bafk from gw has other bytes' })
  })

  test('lists in blocks of 100, each found once', async () => {
    for (let at = 0; at < 205; at++) await client.prepare(`key-${at}`, '', { half: String(at % 2) })
    expect(await client.blocks([])).toEqual([100, 100, 5])
    expect((await client.blocks(['labels.half==1'])).reduce((sum, size) => sum + size)).toBe(102)
    expect(await client.call('Usage', { key: 'key-0' })).toMatchObject({ inodes: 1 })
  })

  test('keeps state per plugin name', async () => {
    const other = snapshotsClient(address, 'stargz')
    await client.prepare('a', '', {})
    await expect(other.stat('a')).rejects.toMatchObject({ code: status.NOT_FOUND })
    await other.close()
  })

  test('says that it serves to a health check', async () => {
    const Health = serviceOf('health')
    const health = new Health(`unix:${address}`, credentials.createInsecure()) as unknown as
      { Check: (request: object, answer: (error: unknown, value: unknown) => void) => void, close: () => void }
    expect(await new Promise((resolve) => health.Check({}, (_error, value) => resolve(value)))).toEqual({ status: 'SERVING' })
    health.close()
  })

  test('accepts messages beyond grpc-js\'s four megabytes', async () => {
    await expect(client.prepare('x'.repeat(8 << 20), '', {})).rejects.toMatchObject({ code: status.INVALID_ARGUMENT })
    await expect(client.prepare('x'.repeat(17 << 20), '', {})).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED })
  })
})

describe('the socket', () => {
  test('is for its owner only, alone in its folder', () => {
    expect(statSync(address).mode & 0o777).toBe(0o600)
    expect(readdirSync(join(folder, 'sub'))).toEqual(['snapshots.sock'])
  })

  test('is not taken from a server that lives, and is from one that died', async () => {
    await expect(serveContainerd({ address, snapshotters, log: silentLog })).rejects.toMatchObject({
      code: 'ENVIRONMENT', message: expect.stringContaining('served by another')
    })
    await client.prepare('still served', '', {})

    const stale = join(folder, 'stale.sock')
    const dying = createServer()
    await new Promise<void>((resolve) => dying.listen(join(folder, 'other.sock'), () => resolve()))
    const { renameSync } = await import('node:fs')
    renameSync(join(folder, 'other.sock'), stale)
    await new Promise<void>((resolve) => dying.close(() => resolve()))
    const successor = await serveContainerd({ address: stale, snapshotters, log: silentLog })
    const second = snapshotsClient(stale, 'ipfs')
    expect((await second.stat('still served')).kind).toBe('active')
    await second.close()
    await successor.stop()
  })

  test('never replaces what is no socket', async () => {
    const path = join(folder, 'file')
    writeFileSync(path, 'precious')
    await expect(serveContainerd({ address: path, snapshotters, log: silentLog })).rejects.toMatchObject({ code: 'ENVIRONMENT' })
    mkdirSync(join(folder, 'directory'))
    await expect(serveContainerd({ address: join(folder, 'directory'), snapshotters, log: silentLog })).rejects.toMatchObject({ code: 'ENVIRONMENT' })
    await expect(serveContainerd({ address: join(folder, 'x'.repeat(120)), snapshotters, log: silentLog })).rejects.toMatchObject({ code: 'ENVIRONMENT' })
  })

  test('goes with its server, but not with one whose place was taken', async () => {
    rmSync(address)
    const successor = await serveContainerd({ address, snapshotters, log: silentLog })
    await server.stop()
    expect(statSync(address).isSocket()).toBe(true)
    await successor.stop()
    await successor.stop()
    expect(readdirSync(join(folder, 'sub'))).toEqual([])
  })

  test('lets a call in flight end when it stops', async () => {
    let release = (): void => {}
    const entered = new Promise<void>((resolve) => {
      layers.beforeMount = async () => { await new Promise<void>((go) => { release = go; resolve() }) }
    })
    const slow = client.prepare('slow', '', { 'containerd.io/snapshot.ref': CHAIN })
    await entered
    const stopping = server.stop()
    release()
    expect(await slow).toHaveLength(1)
    await stopping
  })
})

describe('status and time on the wire', () => {
  test('every code has its status, and comes back as an error with it', () => {
    for (const code of ERROR_CODES) {
      const answer = toStatus(new SnapshotterError(code, 'what happened'))
      expect(answer).toMatchObject({ code: grpcStatusOf(code), details: `${code}: what happened` })
      expect(fromStatus(Object.assign(new Error('x'), answer), 'Stat').details).toMatchObject({ grpc: grpcStatusOf(code) })
    }
    expect(toStatus(new Error('two\nlines'))).toMatchObject({ code: status.INTERNAL, details: 'INTERNAL: two lines' })
  })

  test('timestamps keep their nanoseconds, before 1970 too', () => {
    fc.assert(fc.property(fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }), (ns) => {
      const wire = toTimestamp(ns)
      expect(wire.nanos).toBeGreaterThanOrEqual(0)
      expect(wire.nanos).toBeLessThan(1_000_000_000)
      expect(fromTimestamp(wire)).toBe(ns)
    }))
    expect(fromTimestamp(null)).toBe(0n)
  })
})
