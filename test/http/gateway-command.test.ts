import { afterAll, describe, expect, test } from '@jest/globals'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ask } from '../suites/ask.ts'
import { block, carBytes, writeCar } from '../suites/dags.ts'

const folder = mkdtempSync(join(tmpdir(), 'gateway-command-'))
const command = join(import.meta.dirname, '..', '..', 'scripts', 'ipfs-snapshotter')
const [one, two] = [block('one'), block('two')]
const [carOne, carTwo] = [writeCar(join(folder, 'one.car'), [one.cid], [one]), writeCar(join(folder, 'two.car'), [two.cid], [two])]
const running = new Set<ChildProcess>()
afterAll(() => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

interface Run {
  readonly child: ChildProcess
  readonly ended: Promise<{ code: number | null, stdout: string, stderr: string }>
  readonly firstLine: Promise<string>
}

function run (...args: string[]): Run {
  const child = spawn(command, ['gateway', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  let stdout = ''
  let stderr = ''
  const line = Promise.withResolvers<string>()
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    if (stdout.includes('\n')) line.resolve(stdout.slice(0, stdout.indexOf('\n')))
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  const ended = once(child, 'close').then(([code]) => {
    running.delete(child)
    line.resolve('')
    return { code: code as number | null, stdout, stderr }
  })
  return { child, ended, firstLine: line.promise }
}

describe('gateway --car FILE… --listen ADDR', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)('prints its address, serves every file, ends well on %s', async (signal) => {
    const { child, ended, firstLine } = run('--car', carOne, '--car', carTwo, '--listen', '127.0.0.1:0')
    const url = await firstLine

    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:[1-9]\d*$/)
    for (const { cid, bytes } of [one, two]) expect((await ask(`${url}/ipfs/${cid.toString()}?format=raw`)).body).toEqual(Buffer.from(bytes))
    child.kill(signal)
    expect(await ended).toMatchObject({ code: 0, stdout: `${url}\n` })
  })

  test('takes several files behind one --car, --config like every command, and says more with --json', async () => {
    const { child, ended, firstLine } = run('--json', '--config', join(folder, 'any.toml'), '--listen', '127.0.0.1:0', '--car', carOne, carTwo)
    const said = JSON.parse(await firstLine) as { url: string, roots: string[], blocks: number }

    expect(said).toEqual({ url: expect.stringMatching(/^http:/) as unknown, roots: [one.cid.toString(), two.cid.toString()], blocks: 2 })
    child.kill('SIGTERM')
    expect((await ended).code).toBe(0)
  })

  test('ends with one plain line when it cannot start', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as { port: number }
    const [page, cut] = [join(folder, 'page.car'), join(folder, 'cut.car')]
    writeFileSync(page, '<!doctype html><title>Not found</title>\n'.repeat(20))
    writeFileSync(cut, carBytes([one.cid], [one]).subarray(0, -1))
    const cases: ReadonlyArray<[args: string[], line: RegExp]> = [
      [['--car', join(folder, 'none.car')], /^NOT_FOUND: CAR file .*none\.car does not exist$/],
      [['--store', join(folder, 'none')], /^NOT_FOUND: .*none is no store of blocks: it has no folder sha256$/],
      [['--car', page], /^CAR_INVALID: .*page\.car is not a CAR version 1 file: /],
      [['--car', carOne, '--car', cut], /^CAR_TRUNCATED: .*cut\.car ends at byte \d+/],
      [['--car', carOne, '--listen', `127.0.0.1:${port}`], /^ENVIRONMENT: cannot listen on 127\.0\.0\.1:\d+: another program listens there$/],
      [['--car', carOne, '--listen', 'nonsense'], /^CONFIG_INVALID: listen address "nonsense" is not HOST:PORT/]
    ]
    for (const [args, line] of cases) {
      const { code, stdout, stderr } = await run(...args).ended
      const plain = stderr.trimEnd().split('\n').filter((text) => !text.startsWith('{'))
      expect([code, stdout, plain.length]).toEqual([1, '', 1])
      expect(plain[0]).toMatch(line)
    }
    taken.close()
  })

  test('serves a folder of blocks, also those that come later', async () => {
    const store = join(folder, 'store')
    mkdirSync(join(store, 'sha256'), { recursive: true })
    const { child, ended, firstLine } = run('--store', store, '--listen', '127.0.0.1:0')
    const address = `${await firstLine}/ipfs/${one.cid.toString()}`
    expect((await ask(`${address}?format=raw`)).status).toBe(404)
    writeFileSync(join(store, 'sha256', Buffer.from(one.cid.multihash.digest).toString('hex')), one.bytes)
    expect((await ask(`${address}?format=raw`)).body).toEqual(Buffer.from(one.bytes))
    expect((await ask(`${address}?format=car`)).status).toBe(200)
    child.kill('SIGTERM')
    expect((await ended).code).toBe(0)
  })

  test('without a file or a folder, or with both, it is a usage error', async () => {
    expect((await run('--listen', '127.0.0.1:0').ended).code).toBe(2)
    expect((await run('--car', carOne, '--store', folder, '--listen', '127.0.0.1:0').ended).code).toBe(2)
  })
})
