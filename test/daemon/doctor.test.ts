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
