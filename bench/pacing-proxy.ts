// A TCP proxy that makes loopback look like a line of given delay and capacity: half the round trip each way, a round
// trip for a new connection's handshake, one token bucket over all connections downstream. Counts what went through.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { systemClock } from '../src/base/clock.ts'
import { RequestCounter } from './request-counter.ts'
import { type Sender, SharedLink } from './shared-link.ts'

export interface PacingOptions {
  /** `http://host:port` */
  readonly target: string
  readonly rttMs: number
  /** Of all answers together, heads included. */
  readonly bytesPerSecond: number
  /** Called with each request line. */
  readonly onRequest?: (line: string) => void
}

export interface PacingProxy {
  /** `http://127.0.0.1:port` */
  readonly url: string
  /** Bytes handed to clients, heads included. */
  readonly bytes: () => number
  readonly requests: () => number
  /** Both counts to zero. */
  readonly reset: () => void
  readonly close: () => Promise<void>
}

const QUEUE_BYTES_MIN = 256 * 1024 // of one connection and direction; beyond it (or what the line holds) the sender waits
const DUE_MS = 0.5 // what is due this soon goes at once: timers would only make it late

interface Line {
  readonly halfMs: number
  readonly queueBytes: number
  readonly link: SharedLink
  readonly countBytes: (bytes: number) => void
  readonly countRequest: (line: string) => void
}

export async function startPacingProxy ({ target, rttMs, bytesPerSecond, onRequest }: PacingOptions): Promise<PacingProxy> {
  const { hostname, port } = new URL(target)
  const sockets = new Set<Socket>()
  let bytes = 0
  let requests = 0
  const line: Line = {
    halfMs: rttMs / 2,
    queueBytes: Math.max(QUEUE_BYTES_MIN, 2 * bytesPerSecond * rttMs / 1000),
    link: new SharedLink(bytesPerSecond, systemClock, (milliseconds, run) => { setTimeout(run, milliseconds) }),
    countBytes: (count) => { bytes += count },
    countRequest: (text) => { requests++; onRequest?.(text) }
  }
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const upstream = connect({ host: hostname, port: Number(port), allowHalfOpen: true, noDelay: true })
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => { client.destroy(); upstream.destroy() })
      socket.once('close', () => sockets.delete(socket)) // without an error the other side still has bytes on the way
    }
    join(client, upstream, line)
  })
  await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(0, '127.0.0.1', () => resolve()) })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bytes: () => bytes,
    requests: () => requests,
    reset: () => { bytes = 0; requests = 0 },
    close: async () => {
      const closed = new Promise<void>((resolve) => { server.close(() => resolve()) })
      for (const socket of sockets) socket.destroy()
      await closed
    }
  }
}

function join (client: Socket, upstream: Socket, line: Line): void {
  const { halfMs } = line
  const counter = new RequestCounter(line.countRequest)
  const readyAt = systemClock.monotonicMs() + 2 * halfMs // SYN there, SYN-ACK back
  const arrival = (): number => Math.max(systemClock.monotonicMs(), readyAt) + halfMs
  const up = new DelayLine(upstream, line.queueBytes, () => {}, () => client.resume())
  client.on('data', (chunk) => {
    try {
      counter.push(chunk)
    } catch (error) {
      client.destroy(error as Error)
      return
    }
    up.push(chunk, arrival())
    if (up.full) client.pause()
  })
  client.on('end', () => up.end(arrival()))
  joinDownstream(client, upstream, line)
}

function joinDownstream (client: Socket, upstream: Socket, { halfMs, queueBytes, link, countBytes }: Line): void {
  const queue: Buffer[] = []
  let pending = 0
  let ended = false
  const sender: Sender = {
    next: () => client.destroyed || down.full ? 0 : queue[0]?.byteLength ?? 0,
    send: (bytes, at) => {
      const first = queue.shift() ?? Buffer.alloc(0)
      if (first.byteLength > bytes) queue.unshift(first.subarray(bytes))
      pending -= bytes
      down.push(first.subarray(0, bytes), at + halfMs)
      if (pending < queueBytes) upstream.resume()
      if (ended && pending === 0) down.end(at + halfMs)
    }
  }
  const down = new DelayLine(client, queueBytes, countBytes, () => link.ready(sender))
  upstream.on('data', (chunk) => {
    queue.push(chunk)
    pending += chunk.byteLength
    if (pending >= queueBytes) upstream.pause()
    link.ready(sender)
  })
  upstream.on('end', () => {
    ended = true
    if (pending === 0) down.end(systemClock.monotonicMs() + halfMs)
  })
}

/** Hands chunks on when their time has come, in order, as fast as the receiver takes them. */
class DelayLine {
  readonly #to: Socket
  readonly #limit: number
  readonly #delivered: (bytes: number) => void
  readonly #hasRoom: () => void
  readonly #queue: Array<{ chunk: Buffer | null, at: number }> = []
  #bytes = 0
  #busy = false

  constructor (to: Socket, limit: number, delivered: (bytes: number) => void, hasRoom: () => void) {
    this.#to = to
    this.#limit = limit
    this.#delivered = delivered
    this.#hasRoom = hasRoom
    to.on('drain', () => this.#deliver())
  }

  get full (): boolean {
    return this.#bytes > this.#limit
  }

  push (chunk: Buffer, at: number): void {
    this.#bytes += chunk.byteLength
    this.#queue.push({ chunk, at })
    if (!this.#busy) this.#deliver()
  }

  end (at: number): void {
    this.#queue.push({ chunk: null, at })
    if (!this.#busy) this.#deliver()
  }

  #deliver (): void {
    const before = this.#bytes
    this.#busy = this.#handOn()
    if (before > this.#limit && this.#bytes <= this.#limit) this.#hasRoom()
  }

  /** True when it must wait, for time or for the receiver: then it will be called again. */
  #handOn (): boolean {
    for (;;) {
      const first = this.#queue[0]
      if (first === undefined || this.#to.destroyed) return false
      const wait = first.at - systemClock.monotonicMs()
      if (wait > DUE_MS) {
        setTimeout(() => this.#deliver(), Math.floor(wait))
        return true
      }
      this.#queue.shift()
      if (first.chunk === null) {
        this.#to.end()
        return false
      }
      this.#bytes -= first.chunk.byteLength
      this.#delivered(first.chunk.byteLength)
      if (!this.#to.write(first.chunk)) return true
    }
  }
}
