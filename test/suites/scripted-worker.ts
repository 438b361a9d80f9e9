// A worker's side of data.sock as a test writes it: it says HELLO and answers LIST and STATUS, except that one connection gets
// bytes of the test's choice instead.
import { createServer, type Server, type Socket } from 'node:net'
import { encodeFrame, FRAME, FrameParser, text, u32 } from '../../src/mount/frames.ts'

export const frameOf = (type: number, id: number, ...body: Uint8Array[]): Buffer => Buffer.concat(encodeFrame(type, id, ...body))
export const HELLO = frameOf(FRAME.HELLO, 0, u32(1, 11, 22, 33))

export class ScriptedWorker {
  readonly server: Server
  /** What STATUS is answered with. */
  status: Uint8Array = new Uint8Array(0)
  #garbage: { readonly bytes: Uint8Array, readonly gone: () => void } | null = null
  #current: Socket | null = null

  /** Listens on `path`. */
  static async start (path: string): Promise<ScriptedWorker> {
    const worker = new ScriptedWorker()
    await new Promise<void>((resolve) => { worker.server.listen(path, resolve) })
    return worker
  }

  private constructor () {
    this.server = createServer((socket) => { this.#serve(socket) })
  }

  /** The connection breaks, and the next one gets these bytes; resolves when the client has closed that. The one after it is served rightly. */
  async sendInstead (bytes: Uint8Array): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#garbage = { bytes, gone: resolve }
      this.#current?.destroy()
    })
  }

  async close (): Promise<void> {
    await new Promise((resolve) => { this.server.close(resolve) })
  }

  #serve (socket: Socket): void {
    socket.on('error', () => {})
    if (this.#garbage !== null) {
      socket.once('close', this.#garbage.gone).resume().end(this.#garbage.bytes)
      this.#garbage = null
      return
    }
    const parser = new FrameParser()
    this.#current = socket
    socket.write(HELLO)
    socket.on('data', (data) => {
      for (const { type, id } of parser.push(data)) {
        if (type === FRAME.LIST) socket.write(frameOf(FRAME.NAMES, id, u32(1), text('good')))
        if (type === FRAME.STATUS) socket.write(frameOf(FRAME.STATUS_IS, id, Buffer.from(this.status)))
      }
    })
  }
}
