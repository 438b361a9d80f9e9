import { expect, test } from '@jest/globals'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { loadConfig, type SourceSettings } from '../../src/config/load.ts'
import { type Check, examine } from '../../src/daemon/doctor.ts'

async function checkSource (source: SourceSettings): Promise<Check | undefined> {
  const defaults = loadConfig(undefined, { IPFS_SNAPSHOTTER_CONFIG: '/dev/null' })
  const config = { ...defaults, state: '/nowhere', containerdAddress: '/nowhere/c.sock', sources: [source] }
  return (await examine(config, 'ipfs')).find(({ name }) => name === 'sources')
}

test('asks a gateway as the daemon will: below its path, with its token', async () => {
  const server = createServer((request, response) => {
    const known = request.headers.authorization === 'Bearer word' && request.url?.startsWith('/team/ipfs/bafkqaaa') === true
    response.writeHead(known ? 200 : 401).end()
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', () => { resolve() }) })
  const { port } = server.address() as AddressInfo
  const source = { type: 'gateway' as const, url: `http://127.0.0.1:${port}/team`, timeoutMs: 5000 }
  try {
    expect(await checkSource({ ...source, token: 'word' })).toMatchObject({ ok: true })
    expect(await checkSource(source)).toMatchObject({ ok: false, detail: `127.0.0.1:${port} answers 401 to the probe of the trustless gateway spec` })
  } finally {
    server.closeAllConnections()
    server.close()
  }
}, 60_000)

test('names every check once, and each that fails says what to do', async () => {
  const defaults = loadConfig(undefined, { IPFS_SNAPSHOTTER_CONFIG: '/dev/null' })
  const checks = await examine({ ...defaults, state: '/nowhere', containerdAddress: '/nowhere/c.sock', grpcAddress: '/nowhere/s.sock', sources: [] }, 'ipfs')
  expect(checks.map(({ name }) => name)).toEqual(['root', 'kernel', 'filesystems', 'fuse', 'native', 'daemon', 'containerd', 'sources'])
  for (const { ok, detail, hint } of checks) {
    expect(detail).not.toBe('')
    expect(hint === '').toBe(ok)
  }
  const failed = new Map(checks.filter(({ ok }) => !ok).map((check) => [check.name, check]))
  expect(failed.get('daemon')?.detail).toMatch(/^UNAVAILABLE: no daemon answers on \/nowhere\/control\.sock/)
  expect(failed.get('containerd')).toMatchObject({
    hint: expect.stringContaining('address = "/nowhere/s.sock"'),
    detail: expect.stringContaining('/nowhere/c.sock')
  })
  expect(failed.get('sources')).toMatchObject({ detail: 'no source is configured' })
}, 60_000)

test('a CAR file that is not there is no source', async () => {
  expect(await checkSource({ type: 'car', path: '/nowhere/image.car' })).toMatchObject({ ok: false, detail: expect.stringContaining('/nowhere/image.car') })
}, 60_000)
