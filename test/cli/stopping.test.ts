// Commands that are stopped in the middle: what a shell sees, what they say, what is left, and that the same command then succeeds.
import { afterEach, describe, expect, test } from '@jest/globals'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { CarBlocks, type FakeGateway, startFakeGateway } from '../fakes/gateway.ts'
import { writeBigImage } from '../publish/big-image.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const COMMAND = join(ROOT, 'scripts', 'ipfs-snapshotter')
const CAR = join(ROOT, 'test', 'fixtures', 'cars', 'layout-estargz-unixfs-v1-2025.car')
const CID = 'bafybeidleclw6csof6vkm6qwvbdcjpxaxdrv77rzomngcujn6aquawoude'
const LAYER = 'bafkreif6nu3mijbgvlajzmdxgy3ptskc4eev4tvkenacburfew4yhahge4'
/** Of an image on the disk. */
const VERIFY = `${COMMAND} verify ${CID} --car ${CAR} --platform linux/amd64`
const BIG = 64 * 2 ** 20

const cleanups: Array<() => Promise<void>> = []
afterEach(async () => { for (const cleanup of cleanups.splice(0).reverse()) await cleanup() })

async function scratch (): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'stopping-'))
  cleanups.push(async () => { await rm(folder, { recursive: true, force: true }) })
  return folder
}

/** Serves the image, but its large layer only when `knobs.hang` is false again. */
async function hangingGateway (): Promise<FakeGateway> {
  const gateway = await startFakeGateway(await CarBlocks.load(CAR), { hang: ({ cid }) => cid === LAYER })
  cleanups.push(async () => { await gateway.close() })
  return gateway
}

async function verifyArgs (gateway: FakeGateway): Promise<string[]> {
  const config = join(await scratch(), 'config.toml')
  await writeFile(config, '')
  return ['verify', CID, '--config', config, '--gateway', gateway.url, '--platform', 'linux/amd64']
}

interface Ended { readonly code: number | null, readonly signal: NodeJS.Signals | null, readonly stdout: string, readonly stderr: string }
type Child = ChildProcessByStdio<null, Readable, Readable>

/** `watch` hears of stderr as it comes. */
async function run (args: readonly string[], watch: (stderr: string, child: Child) => void = () => {}): Promise<Ended> {
  const child = spawn(COMMAND, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text; watch(stderr, child) })
  return await new Promise((resolve) => child.once('close', (code, signal) => { resolve({ code, signal, stdout, stderr }) }))
}

/** What a person sees who types at a terminal: a pseudo-terminal of util-linux, 80 columns wide, in which bash runs `script`. */
async function onTerminal (script: string, type: (seen: string) => string | null = () => null): Promise<string> {
  const env = { ...process.env, TERM: 'xterm' }
  const child = spawn('script', ['-qec', `stty cols 80 rows 24; bash -c ${quoted(script)}`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'], env })
  let seen = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    seen += text
    const keys = type(seen)
    if (keys !== null) child.stdin.write(keys)
  })
  await new Promise((resolve) => child.once('close', resolve))
  return seen
}

function quoted (text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function once (marks: string, then: string): (seen: string) => string | null {
  let isDone = false
  return (seen) => {
    if (isDone || !seen.includes(marks)) return null
    isDone = true
    return then
  }
}

function lastLine ({ stderr }: Ended): string {
  return stderr.trim().split('\n').at(-1) ?? ''
}

describe.each(['SIGINT', 'SIGTERM'] as const)('%s', (signal) => {
  test('ends publish without a file', async () => {
    const [source, out] = [await scratch(), await scratch()]
    const car = join(out, 'x.car')
    await writeBigImage(join(source, 'image.tar'), BIG)
    const ended = await run(['publish', join(source, 'image.tar'), '--car', car], (stderr, child) => {
      if (stderr.includes('"phase":"convert"')) child.kill(signal)
    })

    expect(ended).toMatchObject({ code: null, signal, stdout: '' })
    expect(lastLine(ended)).toBe(`CANCELLED: stopped by ${signal}; ${car} was not written and no other file is left, the same command starts over`)
    expect(await readdir(out)).toEqual([])
  })

  test('ends verify while a gateway is silent, and the same command succeeds', async () => {
    const gateway = await hangingGateway()
    const args = await verifyArgs(gateway)
    const ended = await run(args, (stderr, child) => { if (stderr.includes('"phase":"prove"')) child.kill(signal) })

    expect(ended).toMatchObject({ code: null, signal, stdout: '' })
    expect(lastLine(ended)).toBe(`CANCELLED: stopped by ${signal}; nothing of the image is kept, the same command starts over`)
    gateway.knobs.hang = false
    expect(await run(args)).toMatchObject({ code: 0, stdout: expect.stringContaining('verified') })
  })
})

test('a look at a gateway that is silent ends, and says that the image was published', async () => {
  const [out, gateway] = [await scratch(), await hangingGateway()]
  gateway.knobs.hang = true
  const image = join(ROOT, 'test', 'fixtures', 'images', 'umoci-gzip.oci.tar')
  const ended = await run(['publish', image, '--car', join(out, 'x.car'), '--verify-via', gateway.url], (stderr, child) => {
    if (stderr.includes('"phase":"look"')) child.kill('SIGINT')
  })

  expect(ended).toMatchObject({ code: null, signal: 'SIGINT', stdout: '' })
  expect(lastLine(ended)).toMatch(
    new RegExp(`^CANCELLED: stopped by SIGINT; all of it is published; \`ipfs-snapshotter verify ipfs://\\S+ --gateway ${gateway.url}\` looks again$`))
  expect(await readdir(out)).toEqual(['x.car'])
})

test('a second signal ends publish at once, without a file', async () => {
  const [source, out] = [await scratch(), await scratch()]
  await writeBigImage(join(source, 'image.tar'), BIG)
  const ended = await run(['publish', join(source, 'image.tar'), '--car', join(out, 'x.car')], (stderr, child) => {
    if (!stderr.includes('"phase":"convert"')) return
    child.kill('SIGINT')
    child.kill('SIGTERM')
  })

  expect(ended.code).toBeNull()
  expect(await readdir(out)).toEqual([])
})

describe('on a terminal', () => {
  test('rows show bytes, rate and time left, in 80 columns', async () => {
    const folder = await scratch()
    await writeBigImage(join(folder, 'image.tar'), BIG)
    const seen = await onTerminal(`${COMMAND} publish ${folder}/image.tar --car ${folder}/x.car`)
    const rows = seen.split(/\r\n|\u001b\[\d+F\u001b\[J/) // eslint-disable-line no-control-regex

    expect(rows).toContainEqual(expect.stringMatching(/^sha256:[0-9a-f]{12} {2}convert +\d+% +\d+\.\d of 67\.\d MB +\d+\.\d MB\/s +0:\d\d left$/))
    expect(rows.filter((row) => row.includes('%') && row.length > 79)).toEqual([])
    expect(seen).toMatch(/ipfs:\/\/\w+@sha256:[0-9a-f]{64}\r\n/)
  })

  test('Ctrl-C is 130 to the shell', async () => {
    const args = await verifyArgs(await hangingGateway())
    const seen = await onTerminal(`trap : INT; ${COMMAND} ${args.join(' ')}; echo status $?`, once('prove ', '\u0003'))

    expect(seen).toContain('CANCELLED: stopped by SIGINT; nothing of the image is kept, the same command starts over\r\nstatus 130\r\n')
  })

  test('Ctrl-C ends a loop, too', async () => {
    const args = await verifyArgs(await hangingGateway())
    const seen = await onTerminal(`for at in 1 2; do ${COMMAND} ${args.join(' ')}; echo next; done`, once('prove ', '\u0003'))

    expect(seen).toContain('CANCELLED: stopped by SIGINT')
    expect(seen).not.toContain('next')
  })

  test('a dumb one gets lines, --quiet nothing', async () => {
    const gateway = await hangingGateway()
    gateway.knobs.hang = false
    const args = await verifyArgs(gateway)
    const seen = await onTerminal(`TERM=dumb ${COMMAND} ${args.join(' ')} >/dev/null; echo -; ${COMMAND} ${args.join(' ')} --quiet >/dev/null`)

    const [lines, nothing] = seen.split('-\r\n')
    expect(lines).toMatch(/ {2}resolve\r\n[^]* {2}prove\r\n[^]* proven, \d+ bytes\r\n$/)
    expect(seen).not.toContain('\u001b')
    expect(nothing).toBe('')
  })
})

describe('whoever does not read', () => {
  test('the result ends the command without a word, as of SIGPIPE', async () => {
    const { stdout, stderr } = await shell(`${VERIFY} --json -q | true; echo \${PIPESTATUS[0]}`)
    expect([stdout, stderr]).toEqual(['141\n', ''])
  })

  test('the progress does not stop the work', async () => {
    const folder = await scratch()
    const { stdout } = await shell([
      `{ ${VERIFY} 2>&1 >${folder}/result; echo $? >${folder}/status; } | true`,
      `tail -2 ${folder}/result | cut -c1-8; cat ${folder}/status`,
      `${VERIFY} 2>&- | tail -1 | cut -c1-6`
    ].join('\n'))
    expect(stdout).toBe('verified\nhashed  \n0\nhashed\n')
  })

  test('a full disk under the result is a failure', async () => {
    const { code, stderr } = await shell(`${VERIFY} -q >/dev/full`)
    expect([code, stderr]).toEqual([1, 'ENVIRONMENT: the result cannot be written to stdout (ENOSPC)\n'])
  })
})

async function shell (script: string): Promise<Ended> {
  const child = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  return await new Promise((resolve) => child.once('close', (code, signal) => { resolve({ code, signal, stdout, stderr }) }))
}
