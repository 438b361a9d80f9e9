// `publish --to` and `--pin` with real Kubos: one that the CAR goes to, behind the secrets that Kubo knows, and one that a pinning service
// fetches with. The second finds the first only because we told the service who has the blocks, and the first whom to dial.
import { afterAll, beforeAll, describe, expect } from '@jest/globals'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { command, type Outcome } from '../e2e/command.ts'
import { shelf } from '../e2e/harness.ts'
import { type PinningMock, startPinningMock } from '../fakes/pinning-service.ts'
import { images } from '../publish/published.ts'
import { Kubo } from './kubo.ts'
import { isOnPath, testWith } from './tools.ts'

const withKubo = testWith('peers/kubo-pinning', 'ipfs')
const IMAGE = join(images, 'umoci-gzip.oci.tar')
const PREPARE_MS = 120_000
const LOCAL = '/ip4/127.0.0.1/tcp/0'

describe('a real Kubo', () => {
  const folder = shelf()
  const kubos: Kubo[] = []
  let mock: PinningMock

  beforeAll(async () => {
    if (!isOnPath('ipfs')) return
    mkdirSync(folder)
    for (const name of ['publisher', 'service']) {
      const kubo = await Kubo.create(join(folder, name))
      kubos.push(kubo)
      await kubo.ipfs('config', '--json', 'Addresses.Swarm', JSON.stringify([LOCAL]))
      const users = {
        someone: { AuthSecret: 'bearer:right', AllowedPaths: ['/api/v0'] },
        other: { AuthSecret: 'basic:user:pass', AllowedPaths: ['/api/v0/dag/import'] }
      }
      if (name === 'publisher') await kubo.ipfs('config', '--json', 'API.Authorizations', JSON.stringify(users))
      await kubo.start()
    }
    const [, service] = kubos
    const { Addresses: delegates } = JSON.parse(await service?.ipfs('id', '--enc=json') ?? '') as { Addresses: string[] }
    mock = await startPinningMock('right', delegates)
    mock.knobs.step = async (kept) => {
      // What a service does, and nothing that would help it to find the blocks.
      await service?.ipfs('pin', 'add', kept.pin.cid)
      kept.status = 'pinned'
    }
  }, PREPARE_MS)
  afterAll(async () => {
    for (const kubo of kubos) await kubo.end()
    if (isOnPath('ipfs')) await mock.close()
    rmSync(folder, { recursive: true, force: true })
  }, PREPARE_MS)

  function secret (text: string): string {
    const file = join(folder, `secret-${text.replace(/\W/g, '-')}`)
    writeFileSync(file, text)
    chmodSync(file, 0o600)
    return file
  }
  const publishTo = async (text: string, ...more: readonly string[]): Promise<Outcome> =>
    await command(['publish', IMAGE, '--to', kubos[0]?.api ?? '', '--to-token-file', secret(text), '--json', ...more])

  withKubo('takes the image with the secrets that `ipfs --api-auth` takes, and keeps both roots', async () => {
    for (const text of ['basic:user:pass', 'Bearer right']) {
      const { code, stdout, stderr } = await publishTo(text)
      expect([code, stderr.trim().split('\n').at(-1)]).toEqual([0, expect.stringContaining('2 roots pinned')])
      const { cid, nerdctlCid } = JSON.parse(stdout) as { cid: string, nerdctlCid: string }
      const pinned = await kubos[0]?.ipfs('--api-auth', 'bearer:right', 'pin', 'ls', '--type=recursive', '-q')
      expect(pinned?.split('\n')).toEqual(expect.arrayContaining([cid, nerdctlCid]))
      await kubos[0]?.ipfs('--api-auth', 'bearer:right', 'pin', 'rm', cid, nerdctlCid)
    }
    const refused = /^PIN_REFUSED: \S+: dag\/import is refused \(403 "Kubo RPC Access Denied: [^\n]*"\); is the token right\?\n$/
    expect(await publishTo('wrong')).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(refused) as unknown })
  }, PREPARE_MS)

  withKubo('gives the blocks to the Kubo of a pinning service', async () => {
    const config = join(folder, 'config.toml')
    writeFileSync(config, `[[pinning]]\nname = "alpha"\nendpoint = "${mock.url}"\ntoken_file = "${secret('right')}"\n`)
    const { code, stdout, stderr } = await publishTo('bearer:right', '--pin', 'alpha', '--config', config)
    expect([code, stderr]).toEqual([0, expect.stringContaining('is connected to /ip4/127.0.0.1/tcp/')])
    const { cid, nerdctlCid, pins } = JSON.parse(stdout) as { cid: string, nerdctlCid: string, pins: unknown[] }
    expect(pins).toHaveLength(2)
    const origin = mock.pins()[0]?.pin.origins?.[0] ?? ''
    expect(origin).toMatch(/^\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/12D3Koo\w+$/)
    expect((await kubos[1]?.ipfs('pin', 'ls', '--type=recursive', '-q'))?.split('\n')).toEqual(expect.arrayContaining([cid, nerdctlCid]))
    expect(await kubos[1]?.ipfs('--offline', 'cat', `/ipfs/${cid}/oci-layout`)).toBe('{"imageLayoutVersion":"1.0.0"}')
  }, PREPARE_MS)
})
