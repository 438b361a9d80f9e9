// Real containerd, real runc, our gRPC server; the lazy layers are directories that tests bind.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { ContainerdClient } from '../../src/grpc/containerd-client.ts'
import { writeBlob } from '../../src/grpc/content-writer.ts'
import { withLease } from '../../src/grpc/pull-lease.ts'
import { pullImage, type PulledImage, type PullImageInit } from '../../src/grpc/pull-image.ts'
import { type GrpcServer, serveContainerd } from '../../src/grpc/server.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { BindLayers, mountsBelow } from '../suites/bind-layers.ts'
import { containerdVersions, PrivateContainerd } from '../suites/containerd.ts'
import { wipe } from '../suites/mounts.ts'
import { type TinyImage, tinyImage } from '../suites/tiny-image.ts'

const PLUGIN = 'ipfs'
const NAME = 'example.test/pulled:latest'
const shared = mkdtempSync(join(tmpdir(), 'ct-'))
const versions = containerdVersions()
let image: TinyImage
let other: TinyImage

beforeAll(() => {
  image = tinyImage(join(shared, 'image'))
  other = tinyImage(join(shared, 'other'), 'two')
})
afterAll(() => wipe(shared))

describe.each(versions.length > 0 ? versions : [{ version: 'none', directory: '' }])('containerd $version', ({ version, directory }) => {
  const run = versions.length > 0 ? test : test.skip
  const isModern = Number(version.split('.')[0]) >= 2
  const runModern = isModern ? run : test.skip
  if (!isModern) process.stderr.write(`skipped: the ctr of containerd ${version} asks for no remote snapshots\n`)
  let folder: string
  let layers: BindLayers
  let snapshotters: Snapshotters
  let server: GrpcServer
  let containerd: PrivateContainerd

  beforeEach(async () => {
    if (versions.length === 0) return
    folder = mkdtempSync(join(tmpdir(), 'ct-'))
    layers = new BindLayers(image.plan.layers.map((layer, at) => [layer.chainId, image.directories[at] ?? '']))
    snapshotters = await Snapshotters.open({ root: join(folder, 'snap'), layers, log: silentLog })
    server = await serveContainerd({ address: join(folder, 'snap.sock'), snapshotters, log: silentLog })
    containerd = await PrivateContainerd.start({ folder: join(folder, 'c'), binaries: { version, directory }, snapshotters: { [PLUGIN]: server.address } })
  })
  afterEach(async () => {
    if (versions.length === 0) return
    await containerd.stop()
    await server.stop()
    await snapshotters.close()
    wipe(folder)
  })

  const pull = async (init: Partial<PullImageInit> = {}): Promise<PulledImage> =>
    await pullImage({
      plan: image.plan, address: containerd.address, namespace: 'default', name: NAME, snapshotter: PLUGIN, snapshotterAddress: server.address, ...init
    })
  const runContainer = async (namespace: string, name: string, id: string, ...command: string[]): Promise<string> => {
    const out = mkdtempSync(join(folder, 'out-'))
    writeFileSync(join(out, 'said'), '')
    const mount = `type=bind,src=${out},dst=/out,options=rbind:rw`
    await containerd.ctr('-n', namespace, 'run', '--rm', '--mount', mount, '--snapshotter', PLUGIN, name, unique(id), ...command)
    return readFileSync(join(out, 'said'), 'utf8')
  }
  const countOf = async (...args: string[]): Promise<number> =>
    (await containerd.ctr(...args)).trim().split('\n').filter((line) => line !== '').length
  /** Everything that could be left in a namespace: images, blobs, leases, snapshots. */
  const leftovers = async (namespace = 'default'): Promise<number[]> => [
    await countOf('-n', namespace, 'images', 'ls', '-q'), await countOf('-n', namespace, 'content', 'ls', '-q'),
    await countOf('-n', namespace, 'leases', 'ls', '-q'), await countOf('-n', namespace, 'snapshots', '--snapshotter', PLUGIN, 'ls') - 1
  ]

  run('imports an image into ordinary snapshots and runs it', async () => {
    await containerd.ctr('images', 'import', '--snapshotter', PLUGIN, other.archive)
    expect(await runContainer('default', other.name, 'c1', '/bin/tiny', 'cat', '/etc/message', '/etc/base')).toBe('from the upper layer two\nbase two\n')
    expect(await runContainer('default', other.name, 'c2', '/bin/tiny', 'write', '/etc/message', 'changed')).toBe('changed')
    expect(layers.requests.filter(({ chainId }) => layers.known.has(chainId))).toEqual([])
  })

  run('answers a Prepare that carries nothing but a chain ID', async () => {
    const client = new ContainerdClient({ address: containerd.address, namespace: 'default' })
    await client.createLease('mine', {})
    for (const { chainId } of image.plan.layers) await client.addResource('mine', { type: `snapshots/${PLUGIN}`, id: chainId })
    let parent = ''
    for (const { chainId } of image.plan.layers) {
      await expect(client.prepare({ snapshotter: PLUGIN, key: `extract ${chainId}`, parent, labels: { 'containerd.io/snapshot.ref': chainId } }, 'mine'))
        .rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
      expect(await client.statSnapshot(PLUGIN, chainId)).toMatchObject({ kind: 'COMMITTED', parent, name: chainId })
      parent = chainId
    }
    client.close()
    expect(layers.requests.map(({ labels }) => Object.keys(labels))).toEqual([['containerd.io/snapshot.ref'], ['containerd.io/snapshot.ref']])
  })

  run('pulls an image whose layers stay away, and runs it after a forced collection', async () => {
    const events: string[] = []
    const pulled = await pull({ onProgress: (event) => events.push(event.type) })
    expect(pulled).toMatchObject({ target: { digest: image.plan.index?.digest }, chainId: image.plan.layers.at(-1)?.chainId })
    expect(events).toEqual(['blob', 'blob', 'blob', 'layer', 'layer', 'image'])
    expect(layers.requests[1]?.labels).toMatchObject({
      'containerd.io/snapshot/test.cid': 'layer-1',
      'containerd.io/snapshot/cri.layer-digest': image.plan.layers[1]?.digest,
      'containerd.io/snapshot/cri.manifest-digest': image.plan.manifest.digest
    })
    expect(layers.requests[1]?.labels).not.toHaveProperty('org.example.other')

    await containerd.collectGarbage()
    expect(await leftovers()).toEqual([1, 3, 0, 2])
    expect(await containerd.ctr('images', 'ls')).toContain(NAME)
    expect(await runContainer('default', NAME, 'c1')).toBe('from the upper layer one\n')
    expect(await runContainer('default', NAME, 'c2', '/bin/tiny', 'write', '/etc/base', 'changed')).toBe('changed')
    expect(await runContainer('default', NAME, 'c3', '/bin/tiny', 'mode', '/', '/tmp')).toBe('755\n1777\n')
  })

  run('survives two pulls of one image at once, with collections between', async () => {
    let collecting = true
    const collector = (async () => { while (collecting) await containerd.collectGarbage() })()
    const results = await Promise.all([pull(), pull(), pull({ name: 'example.test/pulled:other' })])
    collecting = false
    await collector
    expect(new Set(results.map(({ target }) => target.digest)).size).toBe(1)
    expect(layers.requests).toHaveLength(2)
    await containerd.collectGarbage()
    expect(await leftovers()).toEqual([2, 3, 0, 2])
    expect(await runContainer('default', NAME, 'c1')).toBe('from the upper layer one\n')
  })

  run('leaves nothing after the image is removed, and pulls it again', async () => {
    for (let round = 1; round <= 2; round++) {
      await pull()
      expect(await runContainer('default', NAME, `c${round}`)).toBe('from the upper layer one\n')
      expect(mountsBelow(join(folder, 'snap'))).toHaveLength(2)
      await containerd.ctr('images', 'rm', '--sync', NAME)
      await containerd.collectGarbage()
      await (await snapshotters.get(PLUGIN)).cleanup()
      expect(await leftovers()).toEqual([0, 0, 0, 0])
      expect(mountsBelow(join(folder, 'snap'))).toEqual([])
    }
    expect(layers.requests).toHaveLength(4)
  })

  run('shares lazy layers between namespaces, and keeps them until the last lets go', async () => {
    await pull({ namespace: 'first' })
    await pull({ namespace: 'second' })
    expect(layers.requests).toHaveLength(2)
    await containerd.ctr('-n', 'first', 'images', 'rm', '--sync', NAME)
    await containerd.collectGarbage()
    expect(await leftovers('first')).toEqual([0, 0, 0, 0])
    expect(await runContainer('second', NAME, 'c1')).toBe('from the upper layer one\n')
    await containerd.ctr('-n', 'second', 'images', 'rm', '--sync', NAME)
    await containerd.collectGarbage()
    await (await snapshotters.get(PLUGIN)).cleanup()
    expect(mountsBelow(join(folder, 'snap'))).toEqual([])
  })

  run('mounts a layer once more on a parent that another namespace unpacked', async () => {
    const [base = '', upper = ''] = image.plan.layers.map((layer) => layer.chainId)
    const known = [...layers.known]
    layers.known.clear()
    const client = new ContainerdClient({ address: containerd.address, namespace: 'eager' })
    await client.createLease('keeps-the-base', {})
    await client.addResource('keeps-the-base', { type: `snapshots/${PLUGIN}`, id: base })
    client.close()
    await containerd.ctr('-n', 'eager', 'images', 'import', '--snapshotter', PLUGIN, image.archive)
    await containerd.ctr('-n', 'eager', 'snapshots', '--snapshotter', PLUGIN, 'rm', upper)
    for (const [chainId, directory] of known) layers.known.set(chainId, directory)
    layers.requests.length = 0
    await pull({ namespace: 'lazy' })
    await pull({ namespace: 'eager' })
    expect(layers.requests.map(({ chainId }) => chainId)).toEqual([base, upper, upper])
    expect(await runContainer('eager', NAME, 'c1', '/bin/tiny', 'cat', '/etc/message', '/etc/base')).toBe('from the upper layer one\nbase one\n')
    expect(await runContainer('lazy', NAME, 'c2')).toBe('from the upper layer one\n')
  })

  run('rolls a pull back when a layer is not lazy, fails its check, or the caller leaves', async () => {
    layers.known.delete(image.plan.layers[1]?.chainId ?? '')
    await expect(pull()).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', message: expect.stringContaining('did not mount layer') })
    expect(await leftovers()).toEqual([0, 0, 0, 0])

    layers.beforeMount = async () => { throw new SnapshotterError('BLOCK_HASH_MISMATCH', 'block bafk has other bytes') }
    await expect(pull()).rejects.toMatchObject({ message: expect.stringContaining('BLOCK_HASH_MISMATCH: block bafk has other bytes') })
    expect(await leftovers()).toEqual([0, 0, 0, 0])

    const leaving = new AbortController()
    layers.beforeMount = async () => { leaving.abort(new SnapshotterError('CANCELLED', 'enough')) }
    await expect(pull({ signal: leaving.signal })).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(await leftovers()).toEqual([0, 0, 0, 0])
    expect(await pull({ plan: image.plan }).catch((error: unknown) => error)).toBeInstanceOf(Error)
  })

  run('finishes what others began: a foreign ingest, blobs without labels, snapshots', async () => {
    const client = new ContainerdClient({ address: containerd.address, namespace: 'default' })
    await client.createLease('others', {})
    const { manifest, config, index } = image.plan
    // Another writer of the same ref died after other bytes.
    const call = client.openWrite('others')
    call.write({ action: 'WRITE', ref: `manifest-${manifest.digest}`, data: Buffer.from('other bytes') })
    await new Promise((resolve) => call.once('data', resolve))
    call.cancel()
    await new Promise((resolve) => call.once('error', resolve))
    const theirs = { ref: 'elsewhere', digest: config.digest, bytes: config.bytes, labels: { foreign: 'label' } }
    await writeBlob(client, theirs, 'others', new AbortController().signal)
    await client.prepare({ snapshotter: PLUGIN, key: 'x', parent: '', labels: { 'containerd.io/snapshot.ref': image.plan.layers[0]?.chainId ?? '' } }, 'others')
      .catch(() => {})
    await client.createImage({ name: NAME, labels: { foreign: 'kept' }, target: { mediaType: config.mediaType, digest: config.digest, size: 1 } }, 'others')

    await pull({ labels: { ours: 'set' } })
    await client.deleteLease('others', true)
    expect(await client.image(NAME)).toMatchObject({ labels: { foreign: 'kept', ours: 'set' }, target: { digest: index?.digest } })
    expect((await client.contentInfo(config.digest)).labels).toMatchObject({
      foreign: 'label', [`containerd.io/gc.ref.snapshot.${PLUGIN}`]: image.plan.layers.at(-1)?.chainId
    })
    client.close()
    await containerd.collectGarbage()
    expect(await leftovers()).toEqual([1, 3, 0, 2])
    expect(await runContainer('default', NAME, 'c1')).toBe('from the upper layer one\n')
  })

  runModern('gives stock `ctr image pull` of containerd 2 a lazy image for its chain IDs alone', async () => {
    const registry = await serveRegistry(image)
    const name = `localhost:${registry.port}/tiny:latest`
    await containerd.ctr('image', 'pull', '--plain-http', '--snapshotter', PLUGIN, name)
    expect(registry.fetched).not.toEqual(expect.arrayContaining([expect.stringContaining(image.plan.layers[0]?.digest ?? '')]))
    expect(await runContainer('default', name, 'c1')).toBe('from the upper layer one\n')
    expect(layers.requests).toHaveLength(2)
    await registry.stop()
  })

  run('leaves no lease, whenever the pull is given up', async () => {
    for (let at = 0; at < 60; at++) {
      const stop = new AbortController()
      const client = new ContainerdClient({ address: containerd.address, namespace: 'default', signal: stop.signal })
      await client.leases() // connected: what is stopped is the call
      const leased = withLease(client, `given-up-${at}`, silentLog, async () => { stop.signal.throwIfAborted() })
      setTimeout(() => { stop.abort() }, at / 10)
      await leased.catch(() => {})
      client.close()
    }

    const client = new ContainerdClient({ address: containerd.address, namespace: 'default' })
    expect(await client.leases()).toEqual([])
    client.close()
  }, 60_000)

  run('drops the lease of a pull that died and keeps that of a living one', async () => {
    const client = new ContainerdClient({ address: containerd.address, namespace: 'default' })
    const boot = (pid: number, start: string): string => `${bootId()}/${pidNamespace()}/${pid}/${start}`
    await client.createLease('dead', { 'ipfs-snapshotter.io/owner': boot(process.pid, '1') })
    await client.createLease('old-boot', { 'ipfs-snapshotter.io/owner': 'another-boot/1/1/1' })
    await client.createLease('foreign', { 'ipfs-snapshotter.io/owner': `${bootId()}/1/1/1` })
    await client.createLease('not-ours', {})
    await pull()
    expect((await client.leases()).map(({ id }) => id).sort()).toEqual(['foreign', 'not-ours'])
    client.close()
  })

  run('says which plugin is missing or leads elsewhere', async () => {
    await expect(pull({ snapshotter: 'nobody' })).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION', message: expect.stringContaining('no snapshotter nobody')
    })
    await expect(pull({ address: join(folder, 'none.sock') })).rejects.toMatchObject({ code: 'CONTAINERD', message: expect.stringContaining('is it running?') })
    await server.stop()
    await expect(pull()).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('proxy plugin ipfs') })
    expect((await leftovers().catch(() => [0]))[0]).toBe(0)
  })

  run('pulls at once after the snapshotter was restarted, while containerd still waits before it dials it again', async () => {
    await pull()
    await server.stop()
    const client = new ContainerdClient({ address: containerd.address, namespace: 'default' })
    const stat = async (): Promise<string> => await client.statSnapshot(PLUGIN, image.plan.layers[0]?.chainId ?? '').then(({ kind }) => kind, String)
    // containerd's own database answers Prepare of what is there; it is Stat that meets the closed connection.
    for (const end = Date.now() + 3000; Date.now() < end; await sleep(100)) expect(await stat()).toContain('connection error')
    server = await serveContainerd({ address: server.address, snapshotters, log: silentLog })
    expect((await pull()).target.digest).toMatch(/^sha256:/)
    expect(await stat()).toBe('COMMITTED')
    client.close()
  })
})

describe.each(versions)('a killed snapshotter under containerd $version', (binaries) => {
  test('comes back with every lazy layer mounted, and containers start from it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ct-'))
    const socket = join(folder, 'snap.sock')
    const known = JSON.stringify(Object.fromEntries(image.plan.layers.map((layer, at) => [layer.chainId, image.directories[at]])))
    let server = await startServer(join(folder, 'snap'), socket, known)
    const containerd = await PrivateContainerd.start({ folder: join(folder, 'c'), binaries, snapshotters: { [PLUGIN]: socket } })
    try {
      await pullImage({ plan: image.plan, address: containerd.address, namespace: 'default', name: NAME, snapshotter: PLUGIN })
      const holding = containerd.spawnCtr('run', '--rm', '--snapshotter', PLUGIN, NAME, unique('holding'), '/bin/tiny', 'hold', '/etc/message')
      let said = ''
      holding.stdout?.on('data', (data: Buffer) => { said += data.toString() })
      holding.stderr?.on('data', (data: Buffer) => { said += data.toString() })
      await until(() => said.includes('ready'), () => said)

      await kill(server)
      // What a reboot leaves: records and directories, no mounts.
      for (const point of mountsBelow(join(folder, 'snap'))) wipeMount(point)
      server = await startServer(join(folder, 'snap'), socket, '{}')
      expect(mountsBelow(join(folder, 'snap'))).toHaveLength(2)
      expect(await runWhenConnected(containerd, 'again')).toBe('from the upper layer one\n')

      holding.stdin?.write('\n')
      await until(() => said.includes('from the upper layer one'), () => said)
      await containerd.halt('SIGKILL')
      await kill(server)
      server = await startServer(join(folder, 'snap'), socket, '{}')
      await containerd.start()
      expect(await containerd.ctr('run', '--rm', '--snapshotter', PLUGIN, NAME, unique('third'))).toBe('from the upper layer one\n')
    } finally {
      await containerd.stop()
      await kill(server)
      wipe(folder)
    }
  })
})

/** Answers manifests and the config; a request for a layer is only noted. */
async function serveRegistry (served: TinyImage): Promise<{ port: number, fetched: string[], stop: () => Promise<void> }> {
  const { index, manifest, config } = served.plan
  const documents = new Map([index, manifest, config].filter((one) => one !== null).map((one) => [one.digest as string, one]))
  const fetched: string[] = []
  const server = createServer((request, response) => {
    fetched.push(request.url ?? '')
    const wanted = (request.url ?? '').split('/').at(-1) ?? ''
    const found = wanted === 'latest' ? index : documents.get(wanted)
    if (found === null || found === undefined) return response.writeHead(404).end()
    response.writeHead(200, { 'Content-Type': found.mediaType, 'Content-Length': found.bytes.byteLength, 'Docker-Content-Digest': found.digest })
    response.end(request.method === 'HEAD' ? undefined : found.bytes)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    fetched,
    stop: async () => { await new Promise((resolve) => { server.close(resolve); server.closeAllConnections() }) }
  }
}

async function startServer (root: string, socket: string, layers: string): Promise<ChildProcess> {
  const script = resolve(import.meta.dirname, '../suites/snapshot-server.ts')
  const child = spawn(process.execPath, [script, root, socket, layers], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (data: Buffer) => { said += data.toString() })
  await until(() => said.includes('serving') || child.exitCode !== null)
  return child
}

/** runc keeps the containers of every containerd of the machine in one place. */
function unique (id: string): string {
  return `${id}-${randomUUID()}`
}

/** containerd waits up to three seconds before it dials a plugin again that was away. */
async function runWhenConnected (containerd: PrivateContainerd, id: string): Promise<string> {
  while (true) {
    const { code, stdout, stderr } = await containerd.tryCtr('run', '--rm', '--snapshotter', PLUGIN, NAME, unique(id))
    if (code === 0) return stdout
    expect(stderr).toContain('connection')
    await sleep(100)
  }
}

async function kill (child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill('SIGKILL')
  await ended
}

async function until (condition: () => boolean, tell = (): string => ''): Promise<void> {
  for (let waited = 0; !condition(); waited += 20) {
    if (waited > 30_000) throw new Error(`waited in vain: ${tell()}`)
    await sleep(20)
  }
}

function wipeMount (point: string): void {
  execFileSync('umount', ['-n', '-l', point])
}

function bootId (): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

function pidNamespace (): string {
  return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? ''
}
