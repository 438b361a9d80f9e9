// `publish --to`, `publish --pin` and `pin` as a person runs them: what is printed, exit codes, and that nothing is left behind or
// announced before its time. Our own RPC of Kubo is a target here; a real Kubo is in test/peers.
import { spawn } from 'node:child_process'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { silentLog } from '../../src/base/log.ts'
import { KuboUploads } from '../../src/daemon/kubo-uploads.ts'
import { serveKuboRpc } from '../../src/http/kubo-rpc.ts'
import { GivenBlocks } from '../../src/ipfs/given-blocks.ts'
import { COMMAND, type Outcome } from '../e2e/command.ts'
import { startTarget } from '../fakes/kubo-target.ts'
import { type PinningMock, startPinningMock } from '../fakes/pinning-service.ts'
import { writeBigImage } from '../publish/big-image.ts'
import { images, inFolder, jsonOf, namesIn } from '../publish/published.ts'
import { canMount, withMounts } from '../suites/mounts.ts'

const TOKEN = 'right'
const IMAGE = join(images, 'umoci-gzip.oci.tar')
const ORIGIN = '/ip4/203.0.113.1/tcp/4001/p2p/QmYVEDcquBLjoMEz6qxTSm5AfQ3uUcvHdxC8VUJs6sB1oh'
const asRoot = canMount ? test : test.skip
let mock: PinningMock

beforeAll(async () => { mock = await startPinningMock(TOKEN) })
afterAll(async () => { await mock.close() })

interface Place {
  readonly folder: string
  /** TMPDIR of the commands; what they leave is in it. */
  readonly temporary: string
  /** With the services alpha and beta, which are the mock, and gone, where nobody is. */
  readonly config: string
  readonly run: (args: readonly string[], watch?: (text: string, kill: () => void) => void) => Promise<Outcome>
}

async function inPlace (work: (place: Place) => Promise<void>, token = TOKEN, mode = 0o600): Promise<void> {
  await inFolder(async (folder) => {
    const temporary = join(folder, 'tmp')
    await mkdir(temporary)
    const tokenFile = join(folder, 'token')
    await writeFile(tokenFile, `${token}\n`)
    await chmod(tokenFile, mode)
    const config = join(folder, 'config.toml')
    const service = (name: string, url: string): string => `[[pinning]]\nname = "${name}"\nendpoint = "${url}"\ntoken_file = "${tokenFile}"\n`
    await writeFile(config, service('alpha', mock.url) + service('beta', mock.url) + service('gone', 'http://127.0.0.1:65533'))
    await work({ folder, temporary, config, run: async (args, watch) => await run(args, temporary, watch) })
    expect(await namesIn(temporary)).toEqual([])
  })
}

async function run (args: readonly string[], temporary: string, watch: (text: string, kill: () => void) => void = () => {}): Promise<Outcome> {
  const child = spawn(COMMAND, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TMPDIR: temporary } })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (piece: Buffer) => { stdout += piece.toString() })
  child.stderr.on('data', (piece: Buffer) => {
    stderr += piece.toString()
    watch(piece.toString(), () => { child.kill('SIGINT') })
  })
  const code = await new Promise<number>((resolve) => child.on('close', (code) => { resolve(code ?? -1) }))
  return { code, stdout, stderr }
}

const lastLine = ({ stderr }: Outcome): string => stderr.trim().split('\n').at(-1) ?? ''
const failure = (line: RegExp): unknown => expect.objectContaining({ code: 1, stdout: '', stderr: expect.stringMatching(line) })

interface Printed {
  readonly cid: string
  readonly nerdctlCid: string
  readonly car: string | null
  readonly to: string
  readonly pins: ReadonlyArray<{ readonly service: string, readonly cid: string, readonly status: string }>
}
const printed = ({ stdout }: Outcome): Printed => jsonOf(Buffer.from(stdout)) as unknown as Printed

test('without --car the image goes straight into our own RPC of Kubo, which pins both roots', async () => inPlace(async ({ folder, run }) => {
  const given = await GivenBlocks.open({ folder: join(folder, 'blocks'), maxBytes: 1 << 30, log: silentLog })
  const reads = { open: never, stat: never, block: never }
  const rpc = await serveKuboRpc({ host: '127.0.0.1', port: 0 }, { reads, writes: new KuboUploads(given) }, silentLog)
  try {
    const outcome = await run(['publish', IMAGE, '--to', rpc.url, '--json'])
    expect(outcome.code).toBe(0)
    const { cid, nerdctlCid, ...rest } = printed(outcome)
    expect(rest).toMatchObject({ car: null, to: rpc.url, pins: [] })
    expect((await given.pins()).map(String).sort()).toEqual([cid, nerdctlCid].sort())
    const phases = outcome.stderr.trim().split('\n').map((line) => jsonOf(Buffer.from(line))).filter(({ item }) => item === `to ${rpc.url}`)
    expect(phases).toEqual([expect.objectContaining({ phase: 'upload' }), expect.objectContaining({ event: 'end' })])
  } finally {
    await rpc.close()
  }
}))

async function never (): Promise<never> {
  throw new Error('nobody reads here')
}

test('--pin waits until the service has both roots; it and the Kubo hear of each other', async () => inPlace(async ({ folder, config, run }) => {
  const target = await startTarget({ addresses: [ORIGIN, '/ip4/10.0.0.1/tcp/4001'] })
  try {
    const car = join(folder, 'x.car')
    const args = ['publish', IMAGE, '--car', car, '--to', target.url, '--pin', 'alpha', '--pin-name', 'an image', '--config', config]
    const first = await run([...args, '--json'])
    const { cid, nerdctlCid, pins, ...rest } = printed(first)
    expect(rest).toMatchObject({ car, to: target.url })
    expect(pins.map(({ service, cid, status }) => [service, cid, status])).toEqual([cid, nerdctlCid].map((root) => ['alpha', root, 'pinned']))
    expect(mock.pins().map(({ pin }) => pin)).toEqual([
      { cid, name: 'an image', origins: [ORIGIN] }, { cid: nerdctlCid, name: 'an image (nerdctl)', origins: [ORIGIN] }
    ])
    expect(target.asked.filter((one) => one.startsWith('swarm/connect'))).toHaveLength(1)

    const again = await run(args)
    const shown = new RegExp(`^ipfs://${cid}@sha256:[^]*  pinned {4}${target.url}\n  pinned {4}alpha\n`)
    expect([again.code, again.stdout]).toEqual([0, expect.stringMatching(shown)])
    expect(mock.pins()).toHaveLength(2)

    const alpha = ['--service', 'alpha', '--config', config]
    expect(await run(['pin', 'ls', ...alpha])).toMatchObject({ code: 0, stdout: expect.stringContaining(`alpha\t${cid}\tpinned\tan image\n`) })
    expect(await run(['pin', 'ls', '--status', 'queued,failed', ...alpha])).toMatchObject({ code: 0, stdout: '' })
    expect(printed(await run(['pin', 'status', `ipfs://${cid}`, '--json', ...alpha])).pins)
      .toEqual([expect.objectContaining({ service: 'alpha', cid, status: 'pinned', name: 'an image' })])
    expect(await run(['pin', 'status', cid, '--config', config]))
      .toEqual(failure(/^PIN_UNREACHABLE: pinning service gone at http:\/\/127\.0\.0\.1:65533: ECONNREFUSED\n$/))
    const gone = await run(['pin', 'rm', cid, nerdctlCid, ...alpha])
    expect([gone.code, gone.stdout.split('\n').sort()])
      .toEqual([0, ['', `alpha\t${cid}\tremoved\tan image`, `alpha\t${nerdctlCid}\tremoved\tan image (nerdctl)`].sort()])
    expect(mock.pins()).toEqual([])
    expect(await run(['pin', 'rm', cid, ...alpha])).toEqual(failure(/^NOT_FOUND: baf\w+ is pinned by none of alpha, in no state\n$/))
  } finally {
    await target.close()
  }
}))

test('services that fail keep the reference back, and each has its word', async () => inPlace(async ({ folder, config, run }) => {
  mock.knobs.answer = (method) => method === 'POST' ? { status: 409, body: '{"error":{"reason":"INSUFFICIENT_FUNDS"}}' } : null
  try {
    const outcome = await run(['publish', IMAGE, '--car', join(folder, 'x.car'), '--pin', 'alpha', '--pin', 'beta', '--config', config])
    const said = (name: string): string => `pinning service ${name} wants more funds or room for this (409 "INSUFFICIENT_FUNDS"); nothing is pinned there`
    expect([outcome.code, outcome.stdout, lastLine(outcome)]).toEqual([1, '', `PIN_REFUSED: ${said('alpha')}; PIN_REFUSED: ${said('beta')}`])
  } finally {
    mock.knobs.answer = null
  }
}))

test('a service that is not there is one line before anything is packed', async () => inPlace(async ({ folder, config, run }) => {
  expect(await run(['publish', IMAGE, '--car', join(folder, 'x.car'), '--pin', 'alpha', '--pin', 'gone', '--config', config]))
    .toEqual(failure(/^PIN_UNREACHABLE: pinning service gone at http:\/\/127\.0\.0\.1:65533: ECONNREFUSED\n$/))
  expect(await namesIn(folder)).not.toContain('x.car')
}))

test('a token file that others may read is refused before anything is packed', async () => inPlace(async ({ folder, config, run }) => {
  const line = /^CONFIG_INVALID: token file \S+token is open to everybody on this machine \(mode 0644\); chmod 600 it, and change the token\n$/
  expect(await run(['publish', IMAGE, '--to', 'http://127.0.0.1:65533', '--to-token-file', join(folder, 'token')])).toEqual(failure(line))
  expect(await run(['publish', IMAGE, '--car', join(folder, 'x.car'), '--pin', 'alpha', '--config', config])).toEqual(failure(line))
  expect(await namesIn(folder)).not.toContain('x.car')
}, TOKEN, 0o644))

test('a wrong token is one line before anything is packed, at the RPC and at the service', async () => inPlace(async ({ folder, config, run }) => {
  const target = await startTarget({ secret: ['authorization', 'Bearer other'] })
  try {
    expect(await run(['publish', IMAGE, '--to', target.url, '--to-token-file', join(folder, 'token')]))
      .toEqual(failure(/^PIN_REFUSED: http:\S+: dag\/import is refused \(403 "403 - Forbidden"\); is the token right\?\n$/))
    expect(await run(['publish', IMAGE, '--car', join(folder, 'x.car'), '--pin', 'alpha', '--config', config]))
      .toEqual(failure(/^PIN_REFUSED: pinning service alpha refuses the token \(401 "access token is invalid"\); is its token_file right\?\n$/))
    expect(await namesIn(folder)).not.toContain('x.car')
  } finally {
    await target.close()
  }
}, 'wrong'))

test('an RPC that dies in mid-upload gets the whole CAR again', async () => inPlace(async ({ run }) => {
  const target = await startTarget({ dieAfter: [200_000] })
  try {
    const outcome = await run(['publish', IMAGE, '--to', target.url, '--json'])
    expect([outcome.code, target.uploads()]).toEqual([0, 2])
    expect([...target.pins].sort()).toEqual([printed(outcome).cid, printed(outcome).nerdctlCid].sort())
    expect(outcome.stderr).toContain('the whole CAR is sent again (2 of 4)')
  } finally {
    await target.close()
  }
}))

test('Ctrl-C while it uploads pins nothing, removes the CAR that nobody asked for and says how to go on', async () => inPlace(async ({ run }) => {
  const target = await startTarget({ stallAfter: 200_000 })
  try {
    const outcome = await run(['publish', IMAGE, '--to', target.url], (text, kill) => { if (text.includes('"phase":"upload"')) setTimeout(kill, 200) })
    expect([outcome.code, outcome.stdout, lastLine(outcome)]).toEqual([-1, '',
      'CANCELLED: stopped by SIGINT; what was uploaded and asked for so far may stay; the same command makes the same CIDs and goes on'])
    expect(target.pins.size).toBe(0)
  } finally {
    await target.close()
  }
}))

asRoot('a disk that is full while an image is packed is one line, and nothing stays on it', async () => inPlace(async ({ folder, run }) => {
  const disk = join(folder, 'disk')
  const image = join(folder, 'image.tar')
  await writeBigImage(image, 8 << 20)
  await withMounts([{ type: 'tmpfs', source: 'tmpfs', options: ['size=1m'] }], disk, async () => {
    const outcome = await run(['publish', image, '--car', join(disk, 'x.car')])
    expect([outcome.code, outcome.stdout, lastLine(outcome)])
      .toEqual([1, '', `RESOURCE_EXHAUSTED: ${join(disk, 'x.car')}, or a layer that is unpacked beside it, cannot be written (ENOSPC)`])
    expect(await namesIn(disk)).toEqual([])
  })
}))

test.each([
  [['publish', IMAGE, '--pin', 'alpha'], /^error: name --car <file> or --to <url>, or both/],
  [['publish', IMAGE, '--car', 'x.car', '--to-token-file', 'x'], /^error: --to-token-file is for --to <url>/],
  [['publish', IMAGE, '--car', 'x.car', '--pin', 'alpha', '--pin-timeout', 'soon'], /A duration like 90s, 30m or 2h is needed/],
  [['pin', 'ls', '--status', 'lost'], /Some of queued, pinning, pinned, failed are needed/],
  [['pin', 'rm', 'image:latest'], /A CID is needed/]
])('usage: %j ends with exit code 2', async (args, line) => inPlace(async ({ run }) => {
  expect(await run(args)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(line) })
}))

test('a service that the configuration does not name is one line', async () => inPlace(async ({ config, run }) => {
  expect(await run(['pin', 'ls', '--service', 'delta', '--config', config]))
    .toEqual(failure(/^CONFIG_INVALID: no pinning service is called "delta"; it has alpha, beta, gone \(\[\[pinning\]\]\)\n$/))
}))
