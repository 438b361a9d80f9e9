// A run is recorded, the image published with what it opened in front, and the same run needs nothing else on another node.
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { insideChroot } from '../suites/chroot.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { COMMAND, command, type Outcome, until } from './command.ts'
import { GatedGateway } from './gated-gateway.ts'
import { publish, type Published, Scene, shelf } from './harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from './program-image.ts'
import { run } from './run.ts'

const folder = shelf()
if (insideChroot) process.stderr.write('profile: tests of what was opened are skipped: files have other names within a chroot\n')
const recording = insideChroot ? test.skip : run
const READ = ['/data/3', '/data/17', '/etc/upper']
const PROGRAM = ['/bin/e2e', 'sha', ...READ]
let image: ProgramImage
let published: Published
let gateway: GatedGateway
let scene: Scene
let name: string

beforeAll(async () => {
  await preparePrograms()
  image = programImage(folder, [randomFiles(24, 400_000), { '/etc/upper': 'from the upper layer\n', '/etc/passwd': 'root:x:0:0::/:/bin/e2e\n' }])
  published = await publish(image.layout, join(folder, 'image.car'))
  gateway = await GatedGateway.over(published.car)
  scene = await Scene.start({ sources: [gateway.url] })
  name = (await scene.pull(published.reference)).name
}, PREPARE_MS)
afterAll(async () => {
  await scene.removeImage(name)
  await scene.end()
  await gateway.close()
  rmSync(folder, { recursive: true, force: true })
}, PREPARE_MS)

async function record (...args: readonly string[]): Promise<Outcome> {
  return await command(['profile', 'record', '--config', scene.config, ...args])
}

/** Containers and snapshots that containerd knows. */
async function known (): Promise<string[]> {
  const containers = (await scene.containerd.ctr('containers', 'ls', '-q')).split('\n').filter((id) => id !== '')
  return [...containers, ...await scene.snapshots()].sort()
}

recording('the second cold run of a recorded command reads nothing from the network after its prefetch', async () => {
  const before = await known()
  const list = join(folder, 'list')
  const first = await record('--out', list, published.reference, '--', ...PROGRAM)
  expect(first).toMatchObject({ code: 0, stderr: expect.stringContaining('files recorded') })
  expect(hashLines(first.stdout)).toEqual(image.expected(READ))
  const paths = readFileSync(list, 'utf8').trim().split('\n')
  expect(paths.slice(0, 3)).toEqual(['/etc/passwd', '/etc/group', '/bin/e2e'])
  expect(paths.slice(3).sort()).toEqual([...READ].sort())
  expect(await known()).toEqual(before)

  const listed = await publish(image.layout, join(folder, 'listed.car'), 'estargz', '--prefetch-list', list)
  const counting = await GatedGateway.over(listed.car)
  const leaves = listed.layers.flatMap(({ cid }) => counting.leavesOf(cid))
  const other = await Scene.start({ sources: [counting.url] })
  try {
    const pulled = await other.pull(listed.reference)
    const landmarks = listed.layers.length - 1 // of the base, the files, and /etc: all three hold something that was read
    await until('what is needed first has come', () => other.log.split('"msg":"prefetched"').length > landmarks)
    const needed = counting.deliveries(leaves)
    expect(hashLines(await other.run(pulled.name, ...PROGRAM))).toEqual(image.expected(READ))
    expect(counting.deliveries(leaves) - needed).toBe(0)
    expect(needed).toBeLessThan(leaves.length)
    await other.removeImage(pulled.name)
  } finally {
    await other.end()
    await counting.close()
  }
}, 120_000)

recording('caches hide no file, the command\'s exit status is ours, and the list goes to stdout without --out', async () => {
  await scene.run(name, ...PROGRAM)
  const cached = await record(name, '--', ...PROGRAM)
  expect(cached.code).toBe(0)
  expect(cached.stdout.trim().split('\n').sort()).toEqual(['/bin/e2e', '/etc/group', '/etc/passwd', ...READ].sort())

  const failing = await record(name, '--', '/bin/e2e', 'sha', '/data/3', '/nothing')
  expect(failing.code).toBe(1)
  expect(failing.stdout.split('\n')).toContain('/data/3')
  expect(failing.stdout).not.toContain('/nothing')
}, 60_000)

run('bad input ends with one line, leaves nothing behind and touches no list', async () => {
  const before = await known()
  const list = join(folder, 'kept')
  writeFileSync(list, 'what was there\n')
  const lines = ({ code, stderr, stdout }: Outcome): unknown => [code, stdout, stderr.trim().split('\n').length, stderr.split(':')[0]]
  expect(lines(await record('--out', list, 'example.test/unknown:1', '--', '/bin/e2e'))).toEqual([1, '', 1, 'NOT_FOUND'])
  const missing = await record('--out', list, name, '--', '/bin/nosuch')
  expect(lines(missing)).toEqual([1, '', 1, 'CONTAINERD'])
  expect(missing.stderr).toContain('/bin/nosuch')
  expect(lines(await record('--out', join(folder, 'no/such/folder'), name, '--', '/bin/e2e'))).toEqual([1, '', 1, 'INVALID_ARGUMENT'])
  expect((await record(name)).code).toBe(2)
  expect(readFileSync(list, 'utf8')).toBe('what was there\n')
  expect(readdirSync(folder).filter((file) => file.includes('profile-'))).toEqual([])
  expect(existsSync(join(folder, 'no'))).toBe(false)
  expect(await known()).toEqual(before)
}, 60_000)

run('a command that does not end at Ctrl-C ends at the second, with its container, and no list is written', async () => {
  const before = await known()
  const list = join(folder, 'stopped')
  const child = spawn(COMMAND, ['profile', 'record', '--config', scene.config, '--out', list, name, '--', '/bin/e2e', 'hold', '/etc/upper'])
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  const ended = new Promise((resolve) => child.once('close', (code, signal) => { resolve({ code, signal }) }))
  await until('the command runs', () => stdout.includes('ready'))
  child.kill('SIGINT')
  child.kill('SIGTERM')

  expect(await ended).toMatchObject({ code: null, signal: expect.stringMatching(/^SIG(INT|TERM)$/) })
  expect(stderr.trim().split('\n').at(-1)).toMatch(
    /^CANCELLED: stopped by SIG\w+; no list was written and the container is removed, run the same command again$/)
  expect(existsSync(list)).toBe(false)
  expect(await known()).toEqual(before)
}, 60_000)
