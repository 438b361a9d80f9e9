// A TCP relay in front of a server on loopback, as a network that fails: refuses connections, falls silent with everything that
// is open, or resets every connection after some bytes; and recovers.
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

type Mode = 'pass' | 'silent' | 'reset'
const RESET_AFTER_BYTES = 10_000

export class Relay {
  readonly #host: string
  readonly #port: number
  readonly #open = new Map<Socket, Socket>()
  #server: Server | null = null
  #own = 0
  #mode: Mode = 'pass'

  /** In front of `host` (address:port). */
  static async over (host: string): Promise<Relay> {
    const relay = new Relay(host)
    await relay.#listen()
    return relay
  }

  private constructor (host: string) {
    const [address = '', port = ''] = host.split(':')
    this.#host = address
    this.#port = Number(port)
  }

  get port (): number {
    return this.#own
  }

  get url (): string {
    return `http://127.0.0.1:${this.#own}`
  }

  /** Ends every connection. */
  cut (): void {
    for (const [client, upstream] of this.#open) for (const socket of [client, upstream]) socket.destroy()
  }

  /** As when the server's process died: open connections end, new ones are refused. */
  async refuse (): Promise<void> {
    const server = this.#server
    this.#server = null
    this.cut()
    await new Promise<void>((resolve) => {
      if (server === null) resolve()
      else server.close(() => { resolve() })
    })
  }

  /** As when packets are dropped: nothing is answered, nothing ends. */
  silence (): void {
    this.#mode = 'silent'
    for (const pair of this.#open) for (const socket of pair) socket.unpipe().pause()
  }

  /** Every connection, after some bytes of its answers. */
  reset (): void {
    this.#mode = 'reset'
  }

  /** On the same port. What was silent goes on. */
  async resume (): Promise<void> {
    this.#mode = 'pass'
    for (const [client, upstream] of this.#open) this.#join(client, upstream)
    if (this.#server === null) await this.#listen()
  }

  async close (): Promise<void> {
    await this.refuse()
  }

  async #listen (): Promise<void> {
    const server = createServer((client) => { this.#accept(client) })
    await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(this.#own, '127.0.0.1', resolve) })
    this.#own = (server.address() as AddressInfo).port
    this.#server = server
  }

  #accept (client: Socket): void {
    const upstream = connect(this.#port, this.#host)
    this.#open.set(client, upstream)
    for (const socket of [client, upstream]) {
      socket.on('error', () => {})
      socket.once('close', () => {
        this.#open.delete(client)
        client.destroy()
        upstream.destroy()
      })
    }
    if (this.#mode !== 'silent') this.#join(client, upstream)
    let bytes = 0
    upstream.on('data', (data: Buffer) => {
      bytes += data.byteLength
      if (this.#mode === 'reset' && bytes > RESET_AFTER_BYTES) client.resetAndDestroy()
    })
    if (this.#mode === 'silent') upstream.pause()
  }

  #join (client: Socket, upstream: Socket): void {
    client.unpipe().pipe(upstream)
    upstream.unpipe().pipe(client)
  }
}
