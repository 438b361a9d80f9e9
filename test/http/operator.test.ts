import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import { type IncomingHttpHeaders, request } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { healthRoutes } from '../../src/http/health.ts'
import { METRICS } from '../../src/http/metric-table.ts'
import { Metrics } from '../../src/http/metrics.ts'
import { serveOperator } from '../../src/http/operator-server.ts'
import { statusPageRoutes } from '../../src/http/status-page.ts'
import { figures } from './figures.ts'

let healthy = true
const metrics = new Metrics(async () => figures)
let server: Awaited<ReturnType<typeof serveOperator>>
beforeAll(async () => {
  server = await serveOperator('127.0.0.1:0', {
    '/metrics': async () => await metrics.answer(),
    ...await statusPageRoutes({
      status: async () => { if (!healthy) throw new SnapshotterError('UNAVAILABLE', 'starting'); return { images: [] } },
      errors: () => []
    }),
    '/crash': async () => { throw new SnapshotterError('UNAVAILABLE', 'the daemon is starting') },
    ...healthRoutes({
      alive: async () => { if (!healthy) throw new SnapshotterError('DATA_PLANE_DOWN', 'it does not answer') },
      missing: async () => healthy ? [] : ['starting: self-test', 'no source']
    })
  }, silentLog)
})
afterAll(async () => { await server.close() })

interface Answer { readonly status: number, readonly type: string, readonly body: string, readonly headers: IncomingHttpHeaders }

async function ask (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    request(`${server.url}${path}`, { method, headers, agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (part: string) => { body += part })
      response.on('end', () => { resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', body, headers: response.headers }) })
    }).on('error', reject).end()
  })
}

test('metrics stand in the text format, each with its meaning, under our prefix and in base units', async () => {
  metrics.observeCall('Prepare', 'ALREADY_EXISTS', 12)
  const { status, type, body } = await ask('/metrics')

  expect({ status, type }).toEqual({ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8' })
  for (const { name, help, type: kind } of METRICS) {
    expect(body).toContain(`# HELP ipfs_snapshotter_${name} ${help}\n# TYPE ipfs_snapshotter_${name} ${kind}\n`)
    expect(kind === 'counter').toBe(name.endsWith('_total'))
  }
  for (const line of body.split('\n').filter((text) => text !== '' && !text.startsWith('#'))) {
    expect(line).toMatch(/^ipfs_snapshotter_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+$/)
  }
  for (const line of [
    'source_bytes_total{source="one.example",purpose="foreground"} 4096', 'source_requests_queued{source="one.example",purpose="background"} 4',
    'source_requests_active{source="one.example",purpose="foreground"} 1', 'source_failures_total{source="one.example",code="GATEWAY_TIMEOUT"} 1',
    'verification_failures_total{kind="block"} 2', 'verification_failures_total{kind="chunk"} 6', 'verification_failures_total{kind="cache"} 5',
    'verification_failures_total{kind="layer"} 4', 'bytes_served_unverified_total 0', 'layers{state="lazy"} 2', 'cache_limit_bytes 20'
  ]) expect(body).toContain(`ipfs_snapshotter_${line}\n`)
})

test('the worker\'s reads are a cumulative histogram in seconds, and calls are counted by method and code', async () => {
  const { body } = await ask('/metrics')
  for (const line of [
    'read_duration_seconds_bucket{kind="cached",le="0.001"} 2', 'read_duration_seconds_bucket{kind="cached",le="+Inf"} 3',
    'read_duration_seconds_sum{kind="cached"} 0.0005', 'read_duration_seconds_count{kind="cached"} 3',
    'read_duration_seconds_bucket{kind="fetched",le="1"} 0', 'read_duration_seconds_bucket{kind="fetched",le="+Inf"} 1',
    'read_duration_seconds_sum{kind="fetched"} 2'
  ]) expect(body).toContain(`ipfs_snapshotter_${line}\n`)
  expect(body).toMatch(/grpc_call_duration_seconds_count\{method="Prepare",code="ALREADY_EXISTS"\} 1\n/)
})

test('asking twice counts nothing twice', async () => {
  const first = await ask('/metrics')
  expect((await ask('/metrics')).body).toBe(first.body)
})

test('without a worker its figures are left out, not zero', async () => {
  const { body } = await new Metrics(async () => ({ ...figures, worker: null })).answer()
  expect(body).not.toMatch(/^ipfs_snapshotter_(reads_waiting|read_duration_seconds_count|bytes_served_total)/m)
  expect(body).toMatch(/^ipfs_snapshotter_mounts 3$/m)
})

test('health is 200 and ok, or 503 and what is wrong', async () => {
  expect(await ask('/healthz')).toMatchObject({ status: 200, body: 'ok\n' })
  expect(await ask('/readyz')).toMatchObject({ status: 200, body: 'ok\n' })
  healthy = false
  expect(await ask('/healthz')).toMatchObject({ status: 503, body: 'DATA_PLANE_DOWN: it does not answer\n' })
  expect(await ask('/readyz')).toMatchObject({ status: 503, body: 'starting: self-test\nno source\n' })
  healthy = true
})

test.each([
  ['another host', { host: 'evil.example' }], ['our host on another port', { host: '127.0.0.1:1' }],
  ['a page of another origin', { origin: 'http://evil.example' }], ['a page without an origin', { origin: 'null' }]
])('refuses %s', async (_, headers) => {
  const { status, body } = await ask('/metrics', headers)
  expect(status).toBe(403)
  expect(body).not.toContain('ipfs_snapshotter_')
})

test('takes its own names and its own pages', async () => {
  const { host } = new URL(server.url)
  expect(await ask('/healthz', { host: host.replace('127.0.0.1', 'LocalHost'), origin: `http://${host}` })).toMatchObject({ status: 200 })
})

test('the page may run its own script and nothing else, may be framed by nobody, and loads nothing', async () => {
  const { status, type, body, headers } = await ask('/')
  const hash = (element: string): string => createHash('sha256').update(new RegExp(`<${element}>([^]*?)</${element}>`).exec(body)?.[1] ?? '').digest('base64')

  expect({ status, type }).toEqual({ status: 200, type: 'text/html; charset=utf-8' })
  expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY', 'cache-control': 'no-store' })
  expect(headers['content-security-policy']).toBe(
    `default-src 'none'; script-src 'sha256-${hash('script')}'; style-src 'sha256-${hash('style')}'; ` +
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
  expect(body.match(/<(script|style)\b/g)).toEqual(['<style', '<script'])
  expect(body).not.toMatch(/innerHTML|insertAdjacentHTML|document\.write|\beval\b|\son[a-z]+=|style="|src=/)
  expect([...body.matchAll(/href="([^"]*)"/g)].map(([, href = '']) => href).filter((href) => /^https?:|^\/\//.test(href))).toEqual([])
})

test('figures are JSON, or with 503 the line that says why there are none', async () => {
  expect(await ask('/status.json')).toMatchObject({ status: 200, type: 'application/json', body: '{"images":[]}\n' })
  expect((await ask('/status.json')).headers['content-security-policy']).toBe("default-src 'none'; frame-ancestors 'none'")
  healthy = false
  expect(await ask('/status.json')).toMatchObject({ status: 503, body: '{"error":"UNAVAILABLE: starting","errors":[]}\n' })
  healthy = true
  expect(await ask('/', { host: 'evil.example' })).toMatchObject({ status: 403 })
})

test('refuses to change anything, names what there is, and tells failures in one line', async () => {
  expect(await ask('/metrics', {}, 'POST')).toMatchObject({ status: 405 })
  expect(await ask('/metrics', {}, 'HEAD')).toMatchObject({ status: 200, body: '' })
  expect(await ask('/__proto__')).toMatchObject({ status: 404, body: 'nothing here; there is /metrics, /, /status.json, /crash, /healthz, /readyz\n' })
  expect(await ask('/crash')).toMatchObject({ status: 500, body: 'UNAVAILABLE: the daemon is starting\n' })
})

test('a port that another program has is one line', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => { other.once('listening', resolve) })
  const { port } = other.address() as AddressInfo
  await expect(serveOperator(`127.0.0.1:${port}`, {}, silentLog)).rejects.toMatchObject({
    code: 'ENVIRONMENT', message: `cannot listen on 127.0.0.1:${port} ([http] address): it is served by another process`
  })
  other.close()
})
