// The process behind the driver fuse: what it answers, when it ends, and that it writes no byte beyond a reader's buffer.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FuseMount, type FuseOperations, type loadFuseNative } from '../../src/mount/fuse-native.ts'
import { TreeClient } from '../../src/mount/tree-client.ts'
import { TreeView } from '../../src/mount/tree-view.ts'
import { processesOf } from '../e2e/traces.ts'
import { dataPlaneSkipReason, until } from '../suites/data-plane-fixture.ts'
import { described, DriverScene } from '../suites/driver-scene.ts'
import { layerFrom } from '../suites/layer-from-tree.ts'
import { directory, file } from '../suites/specimen.ts'

const suite = dataPlaneSkipReason === null ? describe : describe.skip

suite('the tree server', () => {
  let scene: DriverScene
  let trees: TreeClient
  const layer = described(layerFrom(directory({ a: file('abc') })))
  beforeEach(async () => {
    scene = await DriverScene.start()
    trees = new TreeClient(scene.fixture.state)
  })
  afterEach(async () => { await scene[Symbol.asyncDispose]() })

  const servers = (): string[] => processesOf(join(scene.fixture.state, 'trees')).filter((line) => line.includes('tree-server'))

  test('is one process for all mounts, is found by the next client, and ends when it is told', async () => {
    const targets = await Promise.all([0, 1, 2].map(async () => await scene.mount('fuse', layer)))
    expect(servers()).toHaveLength(1)
    expect([...await new TreeClient(scene.fixture.state).targets()].sort()).toEqual([...targets].sort())
    await scene.unmountAll()
    expect(await trees.targets()).toEqual([])
    await trees.end()
    await until(() => servers().length === 0)
    expect(await trees.targets()).toEqual([])
    await trees.end() // again: nothing to do
  })

  test('forgets a tree that others unmounted, and ends when nothing is left', async () => {
    const target = await scene.mount('fuse', layer)
    await scene.fixture.native.run(['umount', target])
    await until(async () => (await trees.targets()).length === 0)
    await until(() => servers().length === 0)
  }, 30_000)

  test('answers nonsense with an error and goes on', async () => {
    const target = await scene.mount('fuse', layer)
    for (const line of ['', 'null', '{', '{"do":"mount"}', '{"do":"mount","target":"/nowhere","tree":"/nowhere","data":"/nowhere","firstInode":1}']) {
      const answer = await ask(join(scene.fixture.state, 'trees', 'sock'), line)
      expect({ line, code: (JSON.parse(answer) as { code?: string }).code }).toEqual({ line, code: 'INTERNAL' })
    }
    expect(await readFile(join(target, 'a'), 'utf8')).toBe('abc')
  })

  test('outlives clients that are killed while they ask, and those that never end their question', async () => {
    const target = await scene.mount('fuse', layer)
    for (const words of ['{"do":"list"}\n', '{"do":', 'x'.repeat(200_000), '{"do":"list"}\n'.repeat(5000)]) {
      const socket = connect(join(scene.fixture.state, 'trees', 'sock')).pause().on('error', () => {})
      socket.write(words)
      await sleep(100)
      socket.destroy() // what came is not read: the other end gets ECONNRESET
    }
    expect(await trees.targets()).toEqual([target])
    expect(await readFile(join(target, 'a'), 'utf8')).toBe('abc')
  })

  test('keeps its socket from everybody but root', async () => {
    await scene.mount('fuse', layer)
    expect((statSync(join(scene.fixture.state, 'trees')).mode & 0o777).toString(8)).toBe('700')
  })
})

async function ask (socketPath: string, line: string): Promise<string> {
  const socket = connect(socketPath).setEncoding('utf8')
  socket.write(`${line}\n`)
  let text = ''
  for await (const piece of socket) text += String(piece)
  return text
}

describe('extended attributes', () => {
  type Reply = [result: number, bytes: string]
  interface Fake {
    _op_getxattr: (signal: (result: number) => void, path: string, name: string, into: Buffer) => void
    _op_listxattr: (signal: (result: number) => void, path: string, into: Buffer) => void
  }

  async function mounted (): Promise<Fake> {
    const view = new TreeView(layerFrom(directory({ f: file('', { xattrs: { 'user.a': 'value', 'user.b': '' } }) })).index, 1)
    const made: Fake[] = []
    class Library {
      static unmount = (): void => {}
      mount = (done: (error: null) => void): void => { made.push(this as unknown as Fake); done(null) }
    }
    await FuseMount.mount(Library as unknown as ReturnType<typeof loadFuseNative>, '/x', {} as FuseOperations, (path) => {
      const position = view.find(path)
      return position === null ? -2 : view.xattrs(position)
    })
    const [fuse] = made
    if (fuse === undefined) throw new Error('it was not mounted')
    return fuse
  }

  test.each([
    ['user.a', 0, [5, '']], ['user.a', 4, [-34, '....']], ['user.a', 5, [5, 'value']], ['user.a', 8, [5, 'value...']],
    ['user.b', 0, [0, '']], ['user.b', 3, [0, '...']], ['user.none', 3, [-61, '...']]
  ] as Array<[string, number, Reply]>)('%s into a buffer of %d bytes', async (name, size, reply) => {
    const fuse = await mounted()
    const into = Buffer.alloc(size, '.')
    let result = NaN
    fuse._op_getxattr((answer) => { result = answer }, '/f', name, into)
    expect([result, into.toString()]).toEqual(reply)
  })

  test.each([
    [0, [14, '']], [13, [-34, '.'.repeat(13)]], [14, [14, 'user.a\0user.b\0']]
  ] as Array<[number, Reply]>)('all names into %d bytes', async (size, reply) => {
    const fuse = await mounted()
    const into = Buffer.alloc(size, '.')
    let result = NaN
    fuse._op_listxattr((answer) => { result = answer }, '/f', into)
    expect([result, into.toString()]).toEqual(reply)
  })

  test('of a path that is not there', async () => {
    const fuse = await mounted()
    let result = NaN
    fuse._op_getxattr((answer) => { result = answer }, '/none', 'user.a', Buffer.alloc(3))
    expect(result).toBe(-2)
  })
})
