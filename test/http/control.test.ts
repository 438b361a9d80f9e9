import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SnapshotterError } from '../../src/base/errors.ts'
import { callControl } from '../../src/http/control-client.ts'
import { serveControl } from '../../src/http/control-server.ts'
import { connectAs, NOBODY } from '../suites/other-user.ts'

const asRoot = process.getuid?.() === 0 ? test : test.skip

let folder: string
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'control-')) })
afterAll(async () => { await rm(folder, { recursive: true }) })

test('events come first, then the result', async () => {
  const path = join(folder, 'events.sock')
  await using server = disposable(await serveControl(path, {
    '/pull': async ({ body, emit }) => { emit({ event: 'one' }); emit({ event: 'two' }); return { body } }
  }))
  const events: object[] = []

  expect(await callControl(path, '/pull', { a: 1 }, (event) => { events.push(event) })).toEqual({ body: { a: 1 } })
  expect(events).toEqual([{ event: 'one' }, { event: 'two' }])
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(server).toBeDefined()
})

test('an error keeps its code and its line', async () => {
  const path = join(folder, 'errors.sock')
  await using _server = disposable(await serveControl(path, {
    '/fail': async () => { throw new SnapshotterError('NOT_OCI', 'a web page') },
    '/crash': async () => { throw new TypeError('oops') }
  }))

  await expect(callControl(path, '/fail', null)).rejects.toMatchObject({ code: 'NOT_OCI', message: 'a web page' })
  await expect(callControl(path, '/crash', null)).rejects.toMatchObject({ code: 'INTERNAL', message: 'oops' })
  await expect(callControl(path, '/nothing', null)).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('without a daemon the error says how to start one', async () => {
  await expect(callControl(join(folder, 'absent.sock'), '/status', null)).rejects.toThrow('start it with: ipfs-snapshotter serve')
})

test('a second daemon on one socket is refused, a stale socket is replaced', async () => {
  const path = join(folder, 'twice.sock')
  const first = await serveControl(path, {})
  await expect(serveControl(path, {})).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  await first.close()
  await writeFile(path, '')

  await using _again = disposable(await serveControl(path, { '/x': async () => ({ fine: true }) }))
  expect(await callControl(path, '/x', null)).toEqual({ fine: true })
})

test('a client that goes away aborts its call', async () => {
  const path = join(folder, 'gone.sock')
  let aborted = (): void => {}
  const seen = new Promise<void>((resolve) => { aborted = resolve })
  await using _server = disposable(await serveControl(path, {
    '/slow': async ({ signal, emit }) => {
      emit({ event: 'started' })
      await new Promise((resolve) => { signal.addEventListener('abort', resolve) })
      aborted()
      return {}
    }
  }))
  const call = request({ socketPath: path, path: '/slow', method: 'POST' }, (response) => { response.once('data', () => { call.destroy() }) })
  call.on('error', () => {})
  call.end()

  await seen
})

test.each([['no JSON', '{'], ['a body over the limit', '"'.padEnd(70_000, 'x')]])('%s is refused', async (_, body) => {
  const path = join(folder, `bad-${body.length}.sock`)
  await using _server = disposable(await serveControl(path, { '/x': async () => ({}) }))
  const answer = await new Promise<string>((resolve, reject) => {
    const call = request({ socketPath: path, path: '/x', method: 'POST' }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => { text += part }).on('end', () => { resolve(text) })
    })
    call.on('error', reject)
    call.end(body)
  })

  expect(answer).toMatch(/"error":\{"code":"(INVALID_ARGUMENT|LIMIT_EXCEEDED)"/)
})

asRoot('another user cannot connect, by the mode of the socket alone, and nothing else is in its folder', async () => {
  const place = join(folder, 'open')
  await mkdir(place)
  for (const open of [folder, place]) await chmod(open, 0o755)
  const path = join(place, 's.sock')
  await using _server = disposable(await serveControl(path, {}))

  expect([connectAs(0, path), connectAs(NOBODY, path)]).toEqual(['connected', 'EACCES'])
  expect(await readdir(place)).toEqual(['s.sock'])
})

function disposable (server: { readonly close: () => Promise<void> }): AsyncDisposable {
  return { [Symbol.asyncDispose]: async () => { await server.close() } }
}
