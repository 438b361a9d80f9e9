import { afterAll, describe, expect, test } from '@jest/globals'
import { createServer, type Server } from 'node:http'
import { connect } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { startPacingProxy } from '../../bench/pacing-proxy.ts'
import { RequestCounter } from '../../bench/request-counter.ts'
import { type Sender, SharedLink } from '../../bench/shared-link.ts'
import { ask } from '../suites/ask.ts'

describe('the request counter', () => {
  const request = fc.tuple(fc.constantFrom('GET', 'HEAD', 'POST'), fc.webPath(), fc.nat(300)).map(([method, path, body]) =>
    `${method} ${path === '' ? '/' : path} HTTP/1.1\r\nHost: x\r\n${body > 0 ? `Content-Length: ${body}\r\n` : ''}\r\n${'b'.repeat(body)}`)

  test('counts pipelined requests with and without bodies, however they are cut into packets', () => {
    fc.assert(fc.property(fc.array(request, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }), (requests, cuts) => {
      const lines: string[] = []
      const counter = new RequestCounter((line) => lines.push(line))
      const bytes = Buffer.from(requests.join(''))
      for (let at = 0, cut = 0; at < bytes.byteLength; cut++) {
        const size = cuts[cut % cuts.length] ?? 1
        counter.push(bytes.subarray(at, at + size))
        at += size
      }
      expect(lines).toEqual(requests.map((text) => text.slice(0, text.indexOf('\r\n'))))
    }))
  })

  test('refuses what it cannot count', () => {
    expect(() => new RequestCounter(() => {}).push(Buffer.from('POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n'))).toThrow('chunked')
    expect(() => new RequestCounter(() => {}).push(Buffer.alloc(70_000, 'x'))).toThrow('65536')
  })
})

/** A link in virtual time: senders with all they have to send at the start, and when each piece left. */
function transmit (bytesPerSecond: number, amounts: readonly number[], pieceBytes: number): Array<Array<{ bytes: number, at: number }>> {
  let now = 0
  const timers: Array<{ at: number, run: () => void }> = []
  const link = new SharedLink(bytesPerSecond, { monotonicMs: () => now }, (wait, run) => timers.push({ at: now + wait, run }))
  const sent = amounts.map((): Array<{ bytes: number, at: number }> => [])
  for (const [index, amount] of amounts.entries()) {
    let left = amount
    const sender: Sender = {
      next: () => Math.min(left, pieceBytes),
      send: (bytes, at) => {
        left -= bytes
        sent[index]?.push({ bytes, at })
      }
    }
    link.ready(sender)
    link.ready(sender) // being ready twice gives no second turn
  }
  for (let timer = timers.shift(); timer !== undefined; timer = timers.sort((a, b) => a.at - b.at).shift()) {
    now = timer.at
    timer.run()
  }
  return sent
}

describe('the shared link', () => {
  test.each([[10_000_000, [10_000_000]], [10_000_000, [5_000_000, 5_000_000]], [1_000_000, [1, 250_000, 749_999]]])(
    'carries %i bytes a second, one connection or many: %j take a second', (rate, amounts) => {
      const sent = transmit(rate, amounts, 16_384)
      expect(sent.map((pieces) => pieces.reduce((sum, { bytes }) => sum + bytes, 0))).toEqual(amounts)
      expect(Math.max(...sent.flat().map(({ at }) => at))).toBeCloseTo(1000, 6)
    })

  test('never gives more than the rate allows up to any moment, and wastes nothing', () => {
    fc.assert(fc.property(fc.array(fc.nat(200_000), { minLength: 1, maxLength: 5 }), fc.integer({ min: 500, max: 40_000 }), (amounts, piece) => {
      const rate = 1_000_000
      let carried = 0
      for (const { bytes, at } of transmit(rate, amounts, piece).flat().sort((a, b) => a.at - b.at)) {
        carried += bytes
        expect(Math.abs(carried - at * rate / 1000)).toBeLessThan(0.01)
      }
      expect(carried).toBe(amounts.reduce((sum, amount) => sum + amount, 0))
    }))
  })

  test('takes turns: a small answer does not wait for a large one', () => {
    const [large = [], small = []] = transmit(1_000_000, [1_000_000, 1000], 16_384)
    const end = small.at(-1)?.at ?? Infinity
    expect(large.filter(({ at }) => at < end).length).toBeLessThan(3)
  })
})

describe('the pacing proxy', () => {
  const body = Buffer.alloc(3_000_000, 'pace')
  const open: Array<() => Promise<unknown>> = []
  afterAll(async () => { for (const close of open.reverse()) await close() })

  async function origin (): Promise<string> {
    const server: Server = createServer((request, response) => {
      const size = Number(request.url?.slice(1))
      response.writeHead(200, { 'Content-Length': size })
      response.end(request.method === 'HEAD' ? undefined : body.subarray(0, size))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    open.push(async () => { server.closeAllConnections(); server.close() })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  test('passes every byte on in order, and counts bytes and requests exactly', async () => {
    const target = await origin()
    const lines: string[] = []
    const proxy = await startPacingProxy({ target, rttMs: 4, bytesPerSecond: 50_000_000, onRequest: (line) => lines.push(line) })
    open.push(proxy.close)
    const sizes = [0, 1, 70_000, 3_000_000, 1_000_000, 12]
    const direct = await Promise.all(sizes.map(async (size) => (await rawLength(`${target}/${size}`))))
    const answers = await Promise.all(sizes.map(async (size) => await ask(`${proxy.url}/${size}`)))

    expect(answers.map(({ body: got }, index) => Buffer.compare(got, body.subarray(0, sizes[index])))).toEqual(sizes.map(() => 0))
    expect(proxy.requests()).toBe(sizes.length)
    expect(lines.sort()).toEqual(sizes.map((size) => `GET /${size} HTTP/1.1`).sort())
    expect(proxy.bytes()).toBe(direct.reduce((sum, bytes) => sum + bytes, 0))

    proxy.reset()
    expect([proxy.bytes(), proxy.requests()]).toEqual([0, 0])
    await ask(`${proxy.url}/5`, { method: 'HEAD' })
    expect(proxy.requests()).toBe(1)
  })

  test('a client that leaves takes nothing from the others; closing cuts everybody off', async () => {
    const proxy = await startPacingProxy({ target: await origin(), rttMs: 2, bytesPerSecond: 20_000_000 })
    const leaver = connect(Number(new URL(proxy.url).port), '127.0.0.1')
    leaver.write('GET /3000000 HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(leaver, 'data')
    leaver.destroy()
    expect((await ask(`${proxy.url}/1000000`)).whole).toBe(true)
    expect(proxy.bytes()).toBeLessThan(3_000_000)

    const hanging = connect(Number(new URL(proxy.url).port), '127.0.0.1')
    await once(hanging, 'connect')
    const closed = once(hanging, 'close')
    hanging.on('error', () => {})
    await proxy.close()
    await closed
  })
})

/** Bytes of the whole answer, head included, as they stand on the wire. */
async function rawLength (url: string): Promise<number> {
  const { hostname, port, pathname } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.write(`GET ${pathname} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nConnection: close\r\n\r\n`)
  let bytes = 0
  for await (const chunk of socket) bytes += (chunk as Buffer).byteLength
  return bytes
}
