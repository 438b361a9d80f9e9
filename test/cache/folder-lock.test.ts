import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lockFolder } from '../../src/cache/folder-lock.ts'
import { ownFolders } from '../../src/daemon/own-folders.ts'

const MODULE = join(import.meta.dirname, '../../src/cache/folder-lock.ts')
const RUNNER = join(import.meta.dirname, '../../scripts/with-node')
const PATIENCE_MS = 50
let base: string
let count = 0
beforeAll(() => { base = mkdtempSync(join(tmpdir(), 'lock-')) })
afterAll(() => { rmSync(base, { recursive: true }) })

function folder (): string {
  const path = join(base, `f${++count}`)
  mkdirSync(path)
  return path
}

/** A process that has the folder when it said `mine`, and refuses in one line else. */
function rival (path: string): ChildProcess {
  const script = `import { lockFolder } from ${JSON.stringify(MODULE)}
    try { globalThis.held = lockFolder(${JSON.stringify(path)}, 0); process.stdout.write('mine'); setTimeout(() => {}, 60000) }
    catch (error) { process.stdout.write(error.line) }`
  return spawn('sh', [RUNNER, '--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
}

async function said (child: ChildProcess): Promise<string> {
  const [text] = await once(child.stdout ?? child, 'data') as [Buffer]
  return text.toString()
}

test('of many processes that start in the same instant one gets the folder, and the others say who has it', async () => {
  const path = folder()
  const children = Array.from({ length: 6 }, () => rival(path))
  using _ended = { [Symbol.dispose]: () => { for (const child of children) child.kill('SIGKILL') } }
  const lines = await Promise.all(children.map(said))
  const owner = children[lines.indexOf('mine')]
  expect(lines.filter((line) => line === 'mine')).toHaveLength(1)
  const refusal = `FAILED_PRECONDITION: ${path} is in use by another daemon (pid ${owner?.pid}); stop it or choose other folders`
  for (const line of lines) if (line !== 'mine') expect(line).toBe(refusal)
  expect(readdirSync(path)).toEqual(['lock'])
  expect(statSync(join(path, 'lock')).size).toBe(0)
}, 60_000)

test('SIGKILL lets the folder go', async () => {
  const path = folder()
  const child = rival(path)
  expect(await said(child)).toBe('mine')
  expect(() => lockFolder(path, PATIENCE_MS)).toThrow('is in use by another daemon')
  child.kill('SIGKILL')
  await once(child, 'close')
  lockFolder(path, PATIENCE_MS)[Symbol.dispose]()
}, 60_000)

test('within one process, too, and again after it was let go', () => {
  const path = folder()
  const held = lockFolder(path, PATIENCE_MS)
  expect(() => lockFolder(path, PATIENCE_MS)).toThrow('is in use by another daemon')
  held[Symbol.dispose]()
  lockFolder(path, PATIENCE_MS)[Symbol.dispose]()
})

test('a folder that cannot be locked is an error of the environment', () => {
  const path = folder()
  mkdirSync(join(path, 'lock'))
  expect(() => lockFolder(path, PATIENCE_MS)).toThrow(expect.objectContaining({ code: 'ENVIRONMENT' }))
})

test('who shares either folder is refused and makes nothing, also when a check refuses him', async () => {
  const [root, state] = [join(base, 'r'), join(base, 's')]
  using held = await ownFolders({ root, state }, async () => {})
  const before = readdirSync(base)
  for (const other of [{ root, state: join(base, 'new') }, { root: join(base, 'new'), state }, { root, state }]) {
    await expect(ownFolders(other, async () => {})).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  }
  await expect(ownFolders({ root: join(base, 'x'), state: join(base, 'y') }, async () => { throw new Error('port taken') })).rejects.toThrow('port taken')
  expect(readdirSync(base)).toEqual(before)
  expect(held).toBeDefined()
}, 60_000)
