// One connection to data.sock that comes back for ever: dials, says HELLO, cuts frames, dials again when it drops. What
// was asked and not answered is the business of the layer above, which hears of every new connection.
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { messageOf, systemCode } from '../base/errors.ts'
import { DATA_PLANE_RECONNECT_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { BodyReader, encodeFrame, FRAME, type Frame, FrameParser, PROTOCOL_VERSION, u32 } from './frames.ts'

export interface Hello {
  /** Of the worker. */
  readonly pid: number
  /** How often the guardian replaced it. */
  readonly restarts: number
  readonly guardianPid: number
}

interface Options {
  readonly socketPath: string
  readonly log: Log
  readonly onConnect: (hello: Hello) => void
  readonly onFrame: (frame: Frame) => void
  /** The socket is there and nobody listens: its guardian died. Awaited before the next try; never rejects. */
  readonly onRefused: () => Promise<void>
}

const SLOWEST_TRIES = 50 // the pause grows to this many times DATA_PLANE_RECONNECT_MS: one second

export class DataPlaneLink {
  readonly #options: Options
  readonly #closing = new AbortController()
  #socket: Socket | null = null
  #hello: Hello | null = null
  #failure = 'never connected'
  #refused = false

  constructor (options: Options) {
    this.#options = options
    void this.#dialForEver()
  }

  /** The worker that is connected now. */
  get hello (): Hello | null {
    return this.#hello
  }

  /** Why it is not connected. */
  get failure (): string {
    return this.#failure
  }

  /** Lost without a sound when nobody is connected: onConnect follows. */
  send (frame: readonly Uint8Array[]): void {
    const socket = this.#hello === null ? null : this.#socket
    if (socket === null) return
    // What one turn sends goes out in one write: a leaf of small files is hundreds of frames.
    if (socket.writableCorked === 0) {
      socket.cork()
      process.nextTick(() => { socket.uncork() })
    }
    for (const part of frame) socket.write(part)
  }

  close (): void {
    this.#closing.abort()
    this.#socket?.destroy()
  }

  async #dialForEver (): Promise<void> {
    for (let tries = 0; !this.#closing.signal.aborted; tries++) {
      if (await this.#converse()) tries = 0
      if (this.#refused) await this.#options.onRefused()
      const pause = DATA_PLANE_RECONNECT_MS * Math.min(tries, SLOWEST_TRIES)
      await delay(pause, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {})
    }
  }

  /** One connection from dial to end; true when the worker said HELLO. */
  async #converse (): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<undefined>()
    const socket = connect({ path: this.#options.socketPath })
    const parser = new FrameParser()
    const heard = { hello: false }
    this.#socket = socket
    this.#refused = false
    socket.once('connect', () => { for (const part of encodeFrame(FRAME.HELLO, 0, u32(PROTOCOL_VERSION))) socket.write(part) })
    socket.once('error', (error) => {
      this.#failure = error.message
      this.#refused = systemCode(error) === 'ECONNREFUSED'
    })
    socket.once('close', () => { resolve(undefined) })
    socket.on('data', (data) => {
      try {
        for (const frame of parser.push(data)) {
          if (heard.hello) this.#options.onFrame(frame)
          else heard.hello = this.#greet(frame)
        }
      } catch (error) {
        this.#options.log.error({ error: messageOf(error) }, 'data plane connection closed')
        socket.destroy()
      }
    })
    await promise
    if (heard.hello) this.#options.log.info({ socket: this.#options.socketPath }, 'data plane disconnected')
    this.#hello = null
    return heard.hello
  }

  #greet (frame: Frame): boolean {
    const body = new BodyReader(frame.body)
    if (frame.type !== FRAME.HELLO || body.u32() !== PROTOCOL_VERSION) throw new Error('the worker speaks another version of the protocol')
    this.#hello = { pid: body.u32(), restarts: body.u32(), guardianPid: body.u32() }
    this.#options.onConnect(this.#hello)
    return true
  }
}
