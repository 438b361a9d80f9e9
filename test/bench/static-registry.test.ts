import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startPacingProxy } from '../../bench/pacing-proxy.ts'
import { startStaticRegistry, type StaticRegistry } from '../../bench/static-registry.ts'
import { ask } from '../suites/ask.ts'
import { containerdVersions, PrivateContainerd } from '../suites/containerd.ts'

const folder = mkdtempSync(join(tmpdir(), 'registry-'))
const image = join(import.meta.dirname, '..', 'fixtures', 'images', 'umoci-gzip.oci.tar')
let registry: StaticRegistry
beforeAll(async () => {
  execFileSync('tar', ['-C', folder, '-xf', image])
  registry = await startStaticRegistry(folder)
})
afterAll(async () => {
  await registry.close()
  rmSync(folder, { recursive: true })
})

const blobs = (): string[] => readdirSync(join(folder, 'blobs', 'sha256'))
const at = (path: string): string => `${registry.url}/v2/any/name/${path}`

describe('the static registry', () => {
  test('is one that speaks v2', async () => {
    expect((await ask(`${registry.url}/v2/`)).status).toBe(200)
    expect(registry.url).toBe(`http://${registry.host}`)
  })

  test('serves every blob by its digest, whole', async () => {
    for (const hex of blobs()) {
      const answer = await ask(at(`blobs/sha256:${hex}`))
      expect([answer.status, answer.whole, createHash('sha256').update(answer.body).digest('hex')]).toEqual([200, true, hex])
      expect(answer.headers).toMatchObject({ 'docker-content-digest': `sha256:${hex}`, 'content-length': String(answer.body.byteLength) })
      const head = await ask(at(`blobs/sha256:${hex}`), { method: 'HEAD' })
      expect([head.status, head.headers['content-length'], head.body.byteLength]).toEqual([200, String(answer.body.byteLength), 0])
    }
  })

  test('serves the manifest by tag and by digest, with its media type', async () => {
    const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as { manifests: Array<{ digest: string }> }
    const digest = index.manifests[0]?.digest ?? ''
    for (const reference of ['weird', 'latest', digest]) {
      const answer = await ask(at(`manifests/${reference}`))
      expect([answer.status, answer.headers['content-type'], answer.headers['docker-content-digest']])
        .toEqual([200, 'application/vnd.oci.image.manifest.v1+json', digest])
      expect(`sha256:${createHash('sha256').update(answer.body).digest('hex')}`).toBe(digest)
    }
  })

  test('serves ranges', async () => {
    const hex = blobs().find((name) => statSync(join(folder, 'blobs', 'sha256', name)).size > 1000) ?? ''
    const bytes = readFileSync(join(folder, 'blobs', 'sha256', hex))
    for (const [range, from, to] of [['bytes=0-9', 0, 10], ['bytes=500-', 500, bytes.byteLength], ['bytes=990-99999999', 990, bytes.byteLength]] as const) {
      const answer = await ask(at(`blobs/sha256:${hex}`), { headers: { Range: range } })
      expect([answer.status, answer.headers['content-range']]).toEqual([206, `bytes ${from}-${to - 1}/${bytes.byteLength}`])
      expect(Buffer.compare(answer.body, bytes.subarray(from, to))).toBe(0)
    }
    expect((await ask(at(`blobs/sha256:${hex}`), { headers: { Range: `bytes=${bytes.byteLength}-` } })).status).toBe(416)
  })

  test('knows nothing else', async () => {
    const absent = '0'.repeat(64)
    const tricks = ['blobs/latest', 'blobs/..%2f..%2findex.json', 'blobs/sha256:../../index.json', 'tags/list']
    for (const path of [`blobs/sha256:${absent}`, `manifests/sha256:${absent}`, ...tricks]) {
      expect((await ask(at(path))).status).toBe(404)
    }
    expect((await ask(`${registry.url}/`)).status).toBe(404)
    expect((await ask(at(`blobs/sha256:${blobs()[0] ?? ''}`), { method: 'DELETE' })).status).toBe(405)
  })
})

const [binaries] = containerdVersions()
const pulling = binaries === undefined ? test.skip : test

pulling('stock containerd pulls an image from it, through the pacing proxy, which counts that', async () => {
  const lines: string[] = []
  const proxy = await startPacingProxy({ target: registry.url, rttMs: 2, bytesPerSecond: 50_000_000, onRequest: (line) => lines.push(line) })
  const name = `${new URL(proxy.url).host}/demo/weird:latest`
  if (binaries === undefined) throw new Error('no containerd')
  const containerd = await PrivateContainerd.start({ folder: mkdtempSync(join(tmpdir(), 'reg-')), binaries, snapshotters: {} })
  try {
    await containerd.ctr('image', 'pull', '--plain-http', '--snapshotter', 'native', name)
    expect(await containerd.ctr('image', 'ls', '-q')).toBe(`${name}\n`)
    const sizes = blobs().map((hex) => statSync(join(folder, 'blobs', 'sha256', hex)).size)
    expect(lines.filter((line) => line.startsWith('GET ')).length).toBe(sizes.length)
    expect(proxy.requests()).toBe(lines.length)
    expect(proxy.bytes()).toBeGreaterThan(sizes.reduce((sum, size) => sum + size, 0))
  } finally {
    await containerd.stop()
    await proxy.close()
  }
})
