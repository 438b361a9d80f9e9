import { expect, test } from '@jest/globals'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { loadConfig, type SourceSettings } from '../../src/config/load.ts'
import { clock, type NodeFacts, openFiles, runc, space, storage } from '../../src/daemon/doctor-node.ts'
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
  expect(checks.map(({ name }) => name)).toEqual([
    'root', 'kernel', 'filesystems', 'loop', 'fuse', 'native', 'guardian', 'sockets', 'daemon', 'containerd', 'transfer', 'sources', 'storage', 'space',
    'open-files', 'clock', 'runc'
  ])
  for (const { ok, detail, hint } of checks) {
    expect(detail).not.toBe('')
    expect(hint === '').toBe(ok)
  }
  const failed = new Map(checks.filter(({ ok }) => !ok).map((check) => [check.name, check]))
  expect(failed.get('daemon')?.detail).toMatch(/^UNAVAILABLE: no daemon answers on \/nowhere\/control\.sock/)
  expect(failed.get('containerd')).toMatchObject({
    hint: expect.stringContaining('setup containerd --name ipfs --write'),
    detail: expect.stringContaining('/nowhere/c.sock')
  })
  expect(failed.get('sources')).toMatchObject({ detail: 'no source is configured' })
}, 60_000)

test('a CAR file that is not there is no source', async () => {
  expect(await checkSource({ type: 'car', path: '/nowhere/image.car' })).toMatchObject({ ok: false, detail: expect.stringContaining('/nowhere/image.car') })
}, 60_000)

const healthy: NodeFacts = {
  fileSystem: async () => ({ type: 0xef53, freeBytes: 100 * 2 ** 30 }),
  owner: async (path) => path === '/var/lib' || path === '/' ? { mode: 0o755, uid: 0 } : null,
  read: async () => 'Max open files            1024                 524288               files\n',
  firstLine: async () => 'runc version 1.1.5',
  now: () => Date.UTC(2026, 5, 1)
}
const config = loadConfig(undefined, { IPFS_SNAPSHOTTER_CONFIG: '/dev/null' })

test('a machine that has everything passes', async () => {
  const found = await Promise.all([storage(config, healthy), space(config, healthy), openFiles(healthy), clock(healthy), runc(healthy)])
  expect(found).toEqual([
    'root /var/lib/ipfs-snapshotter lies on a file system that serves, cache limit 20.0 GiB', '100.0 GiB are free at /var/lib/ipfs-snapshotter',
    '524288 open files', 'the clock says 2026-06-01T00:00:00.000Z', 'runc version 1.1.5'
  ])
})

const disk = (type: number, freeBytes = 0): Partial<NodeFacts> => ({ fileSystem: async () => ({ type, freeBytes }) })

test.each<[string, (facts: NodeFacts) => Promise<string>, Partial<NodeFacts>, RegExp]>([
  ['root in memory', async (facts) => await storage(config, facts), disk(0x01021994), /lies on tmpfs: .*; choose a disk/],
  ['root on overlay', async (facts) => await storage(config, facts), disk(0x794c7630), /lies on overlay: /],
  ['a root that others may write', async (facts) => await storage(config, facts), { owner: async () => ({ mode: 0o777, uid: 0 }) },
    /mode 0777\): chown root: .* && chmod 711/],
  ['a small disk', async (facts) => await space(config, facts), disk(0xef53, 2 ** 30), /^1\.0 GiB are free at .*, \[cache\] max_size is 20\.0 GiB/],
  ['few open files', openFiles, { read: async () => 'Max open files   1024   1024   files\n' }, /^at most 1024 open files, 16384 are needed$/],
  ['a clock that starts in 1970', clock, { now: () => 0 }, /^the clock says 1970-01-01T00:00:00\.000Z/],
  ['no runc', runc, { firstLine: async () => { throw new Error('ENOENT') } }, /^runc is not on PATH/]
])('%s is named', async (_, examineIt, worse, line) => {
  await expect(examineIt({ ...healthy, ...worse })).rejects.toThrow(line)
})
