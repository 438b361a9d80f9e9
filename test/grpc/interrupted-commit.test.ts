// A Commit whose answer nobody heard: containerd commits in our database first and then in its own, and SIGKILL comes in between.
// It still knows the key, which we do not any more; the client that makes the call again must get what it asked for.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { type GrpcServer, serveContainerd } from '../../src/grpc/server.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { BindLayers } from '../suites/bind-layers.ts'
import { type ContainerdBinaries, containerdVersions, PrivateContainerd } from '../suites/containerd.ts'
import { wipe } from '../suites/mounts.ts'
import { type SnapshotsClient, snapshotsClient } from '../suites/snapshots-client.ts'

const PLUGIN = 'ipfs'
const KEPT = { 'containerd.io/gc.root': 'the test looks at it' }
const versions = containerdVersions()
const run = versions.length > 0 ? test : test.skip

describe.each(versions.length > 0 ? versions : [{ version: 'none', directory: '' }])('a Commit that containerd $version did not finish', (binaries) => {
  let node: Node
  beforeEach(async () => { if (versions.length > 0) node = await startNode(binaries) })
  afterEach(async () => { if (versions.length > 0) await node.end() })

  run.each([['alone', 0], ['after others took the next numbers', 3]])('because it was killed, succeeds when it is made again, %s', async (_, others) => {
    await node.client.prepare('key', '', KEPT)
    await node.afterCommit(async () => { await node.containerd.halt('SIGKILL') }, async () => {
      await expect(node.client.commit('name', 'key', KEPT)).rejects.toMatchObject({ code: 14 })
    })
    await node.containerd.start()
    for (let at = 0; at < others; at++) await node.client.prepare(`other-${at}`, '', KEPT)
    await node.client.commit('name', 'key', KEPT)

    await expectWhole(node, others)
  })

  run.each([['alone', 0], ['after others took the next numbers', 3]])('because our answer was lost, succeeds when it is made again, %s', async (_, others) => {
    await node.client.prepare('key', '', KEPT)
    await node.afterCommit(async () => { throw new SnapshotterError('UNAVAILABLE', 'killed') }, async () => {
      await expect(node.client.commit('name', 'key', KEPT)).rejects.toMatchObject({ code: 14 })
    })
    for (let at = 0; at < others; at++) await node.client.prepare(`other-${at}`, '', KEPT)
    await node.client.commit('name', 'key', KEPT)

    await expectWhole(node, others)
  })
})

/** The committed snapshot can be built on, outlives a collection, and is there once. */
async function expectWhole ({ client, containerd, ours }: Node, others: number): Promise<void> {
  await client.prepare('child', 'name', KEPT)
  await containerd.collectGarbage()
  expect(await client.stat('name')).toMatchObject({ kind: 'committed', parent: '' })
  expect(await client.stat('child')).toMatchObject({ kind: 'active', parent: 'name' })
  await expect(client.commit('name', 'key', KEPT)).rejects.toMatchObject({ code: 6 })
  expect((await ours()).filter(({ kind }) => kind === 'committed')).toEqual([expect.objectContaining({ name: expect.stringMatching(/^default\/\d+\/name$/) })])
  expect(await ours()).toHaveLength(2 + others)
}

interface Node {
  readonly client: SnapshotsClient
  readonly containerd: PrivateContainerd
  /** What our own database has. */
  readonly ours: () => Promise<Array<{ readonly name: string, readonly kind: string }>>
  /** While `work` runs, `then` comes after our Commit and before its answer. */
  readonly afterCommit: (then: () => Promise<void>, work: () => Promise<void>) => Promise<void>
  readonly end: () => Promise<void>
}

async function startNode (binaries: ContainerdBinaries): Promise<Node> {
  const folder = mkdtempSync(join(tmpdir(), 'ic-'))
  const snapshotters = await Snapshotters.open({ root: join(folder, 'snap'), layers: new BindLayers(), log: silentLog })
  const server: GrpcServer = await serveContainerd({ address: join(folder, 'snap.sock'), snapshotters, log: silentLog })
  const containerd = await PrivateContainerd.start({ folder: join(folder, 'c'), binaries, snapshotters: { [PLUGIN]: server.address } })
  const snapshotter = await snapshotters.get(PLUGIN)
  const client = snapshotsClient(containerd.address, PLUGIN, 'default', 'default')
  return {
    client,
    containerd,
    ours: async () => [...snapshotter.list([])].flat(),
    afterCommit: async (then, work) => {
      const commit = snapshotter.commit.bind(snapshotter)
      snapshotter.commit = async (...args) => {
        await commit(...args)
        await then()
      }
      try { await work() } finally { snapshotter.commit = commit }
    },
    end: async () => {
      await client.close()
      await containerd.stop()
      await server.stop()
      await snapshotters.close()
      wipe(folder)
    }
  }
}
