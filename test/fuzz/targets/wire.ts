// Both ends of the sockets: containerd's calls as raw bytes, the control socket's client and server, and the worker's frames as
// the daemon hears them. What Node sends to guardian and worker is the business of scripts/fuzz-native.
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectHttp2, type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ERROR_CODES, hasCode, SnapshotterError } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import { serveContainerd } from '../../../src/grpc/server.ts'
import { callControl } from '../../../src/http/control-client.ts'
import { serveControl } from '../../../src/http/control-server.ts'
import { DataPlane } from '../../../src/mount/data-plane.ts'
import { BodyReader, chunkRuns, FRAME, FrameParser, resultOf, text, u32 } from '../../../src/mount/frames.ts'
import { TreeClient } from '../../../src/mount/tree-client.ts'
import { Snapshotters } from '../../../src/snapshots/snapshotters.ts'
import { frameOf as frame, HELLO, ScriptedWorker } from '../../suites/scripted-worker.ts'
import { Broken, outcomeOf, same, shown, type Target } from '../target.ts'

const folderOf = (name: string): string => mkdtempSync(join(tmpdir(), `${name}-`))

const METHODS = ['Prepare', 'View', 'Mounts', 'Commit', 'Remove', 'Stat', 'Update', 'Usage', 'Cleanup', 'List']
const INTERNAL = 13
const UNKNOWN = 2

/** The server must answer each call with a status that names a cause; only what is no protobuf is grpc-js's to refuse (INTERNAL). */
export async function makeGrpc (): Promise<Target> {
  const folder = folderOf('grpc')
  const snapshotters = await Snapshotters.open({ root: join(folder, 'root'), layers: noLayers, log: silentLog, overlayOptions: [] })
  const server = await serveContainerd({ address: join(folder, 's'), snapshotters, log: silentLog })
  let session: ClientHttp2Session | null = null
  const client = (): ClientHttp2Session => {
    if (session === null || session.closed || session.destroyed) {
      session = connectHttp2('http://localhost', { createConnection: () => connect(server.address) })
      session.on('error', () => {})
    }
    return session
  }
  return {
    seeds: grpcSeeds(),
    tokens: ['ipfs', 'default', 'k1', 'c1', '../x', '\0', 'labels', 'containerd.io/snapshot.ref', 'containerd.io/gc.root', 'sha256:', Buffer.of(0x0a), Buffer.of(0x12), Buffer.of(0x1a), Buffer.of(0x22),
      Buffer.of(0x2a), Buffer.of(0xff, 0xff, 0xff, 0xff, 0x0f), Buffer.of(0xc3, 0x28), Buffer.of(1), Buffer.of(0, 0, 0, 0, 0), 'name==k1', 'labels~=/a/', 'kind'],
    bytesMax: 2048,
    batch: 7,
    run: async (input) => {
      const answer = await call(client(), METHODS[(input[0] ?? 0) % METHODS.length] ?? '', input.subarray(1))
      if (answer.status === 0 || answer.status === 12) return // what has no message at all is unimplemented
      const code = /^([A-Z_]+): /.exec(answer.message)?.[1]
      if (ERROR_CODES.some((known) => known === code) && code !== 'INTERNAL') throw new SnapshotterError(code as 'NOT_FOUND', answer.message)
      const refusedByLibrary = (answer.status === INTERNAL && /deserializ|index out of range|invalid|Decompress|frame/i.test(answer.message)) || answer.status === -1 || answer.status === 8
      if (!refusedByLibrary) throw new Broken(`status ${answer.status === UNKNOWN ? 'UNKNOWN' : answer.status} ${answer.message}`)
    },
    end: async () => {
      session?.destroy()
      await server.stop()
      await snapshotters.close()
      rmSync(folder, { recursive: true })
    }
  }
}

const noLayers: Parameters<typeof Snapshotters.open>[0]['layers'] = {
  mount: async () => null,
  restore: async () => { throw new SnapshotterError('NOT_FOUND', 'no layer') },
  unmount: async () => {}
} as never

function grpcSeeds (): Buffer[] {
  const field = (number: number, value: Uint8Array | string): Buffer => {
    const bytes = Buffer.from(value as string)
    return Buffer.concat([Buffer.of(number << 3 | 2, bytes.byteLength), bytes])
  }
  const label = (key: string, value: string): Buffer => Buffer.concat([field(1, key), field(2, value)])
  const message = (method: string, ...fields: readonly Buffer[]): Buffer => {
    const body = Buffer.concat(fields)
    const head = Buffer.alloc(6)
    head[0] = METHODS.indexOf(method)
    head.writeUInt32BE(body.byteLength, 2)
    return Buffer.concat([head, body])
  }
  const name = field(1, 'ipfs')
  return [
    message('Prepare', name, field(2, 'k1'), field(3, ''), field(4, label('a', 'b'))), message('Prepare', name, field(2, 'k2'), field(3, 'c1')),
    message('View', name, field(2, 'v1'), field(3, 'c1')), message('Mounts', name, field(2, 'k1')), message('Commit', name, field(2, 'c1'), field(3, 'k1'), field(4, label('c', 'd'))),
    message('Remove', name, field(2, 'k1')), message('Stat', name, field(2, 'c1')), message('Usage', name, field(2, 'c1')), message('Cleanup', name),
    message('Update', name, field(2, Buffer.concat([field(1, 'c1'), field(6, label('e', 'f'))])), field(3, field(1, 'labels.e'))),
    message('List', name, field(2, 'name==c1'), field(2, 'kind==active'))
  ]
}

interface Answer { readonly status: number, readonly message: string }

/** Status -1: the stream was reset. */
async function call (session: ClientHttp2Session, method: string, body: Uint8Array): Promise<Answer> {
  return await new Promise((resolve) => {
    const stream = session.request({
      ':method': 'POST', ':path': `/containerd.services.snapshots.v1.Snapshots/${method}`, 'content-type': 'application/grpc', te: 'trailers', 'grpc-timeout': '9S'
    })
    let answer: Answer = { status: -1, message: 'reset' }
    const note = (headers: IncomingHttpHeaders): void => {
      if (headers['grpc-status'] === undefined) return
      answer = { status: Number(headers['grpc-status']), message: decodeURIComponent(String(headers['grpc-message'])) }
    }
    stream.on('response', note).on('trailers', note).on('error', () => {}).on('close', () => { resolve(answer) }).resume()
    stream.end(body)
  })
}

async function exchange (path: string, bytes: Uint8Array): Promise<string> {
  return await new Promise((resolve) => {
    const socket = connect(path)
    let said = ''
    socket.setEncoding('latin1').on('data', (part: string) => { said += part }).on('error', () => {}).on('close', () => { resolve(said) })
    socket.end(bytes)
  })
}

/** A client that sends anything: it hears a refusal or nothing, and the next client is served. */
export async function makeControlServer (): Promise<Target> {
  const folder = folderOf('control')
  const path = join(folder, 's')
  const server = await serveControl(path, { '/pull': async ({ body, emit }) => { emit({ body }); return { done: shown(body).length } }, '/status': async () => ({ fine: true }) })
  const post = (target: string, body: string): Buffer => Buffer.from(`POST ${target} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`)
  const chunked = Buffer.from('POST /pull HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n4\r\n{"a"\r\n3\r\n:1}\r\n0\r\n\r\n')
  let runs = 0
  return {
    seeds: [post('/pull', '{"reference":"ipfs://x","gateways":[]}'), post('/status', ''), post('/pull', 'null'), chunked, post('/__proto__', '{}')],
    tokens: ['POST ', 'GET ', ' HTTP/1.1\r\n', '\r\n\r\n', 'content-length: ', 'transfer-encoding: chunked', 'expect: 100-continue', 'upgrade: x', '/pull', '/constructor', '/toString', '__proto__', '{"reference":', 'null', '[]', '\0'],
    bytesMax: 4096,
    batch: 7,
    run: async (input) => {
      const answer = await exchange(path, input)
      if (answer.includes('"code":"INTERNAL"')) throw new Broken(`answered ${answer.slice(-200)}`)
      if (++runs % 50 === 0) same('the next call', shown(await callControl(path, '/status', null)), shown({ fine: true }))
    },
    end: async () => { await server.close(); rmSync(folder, { recursive: true }) }
  }
}

/** Listens on `path` and sends each client what `bytes` gives. */
async function hostileServer (path: string, serve: (socket: Socket) => void): Promise<Server> {
  const server = createServer((socket) => { serve(socket.on('error', () => {})) })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return server
}

/** A server that answers anything: the command ends with a result or with an error that says what happened. */
export async function makeControlClient (): Promise<Target> {
  const folder = folderOf('hostile')
  const path = join(folder, 's')
  let bytes: Buffer = Buffer.alloc(0)
  const server = await hostileServer(path, (socket) => { socket.once('data', () => { socket.end(bytes) }) })
  const head = 'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n'
  return {
    seeds: [`${head}{"event":{"type":"resolving"}}\n{"result":{"a":1}}\n`, `${head}{"error":{"code":"NOT_OCI","message":"a web page"}}\n`, `${head}null\n`, `${head}{"event":{}}\n`,
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n{"result":{"a":1\r\n3\r\n}}\n\r\n0\r\n\r\n', `${head}${'{"event":{"a":"é"}}\n'.repeat(20)}`].map((seed) => Buffer.from(seed)),
    tokens: ['{"event":', '{"result":', '{"error":', '{"code":"', '"message":', 'null', '\n', '[]', '1', '"x"', '{}', '\r\n', 'HTTP/1.1 ', '100 Continue', '101 Switching', '204', '304', 'content-length: 9', 'INTERNAL', '\ufffd', Buffer.of(0xff)],
    bytesMax: 4096,
    batch: 7,
    run: async (input) => {
      bytes = input
      const events: object[] = []
      const result = await callControl(path, '/pull', {}, (event) => { events.push(event) }).catch((error: unknown) => {
        // A daemon may say INTERNAL, and may know codes that we do not.
        const passedOn = hasCode(error, 'INTERNAL') && (error as Error).cause === undefined
        throw passedOn ? new SnapshotterError('UNAVAILABLE', 'the daemon failed') : error as Error
      })
      for (const part of [result, ...events]) if (typeof part !== 'object' || (part as unknown) === null) throw new Broken(`${shown(part)} as an object`)
    },
    end: async () => { server.close(); rmSync(folder, { recursive: true }) }
  }
}

const FRAMES = [
  HELLO, frame(FRAME.NAMES, 1, u32(2), text('good'), text('more')), frame(FRAME.RESULT, 1, u32(0), text('')), frame(FRAME.RESULT, 2, u32(74), text('no match')),
  frame(FRAME.FETCH, 0, text('good'), u32(2, 0, 3, 7, 1)), frame(FRAME.FETCH, 3, text('good'), u32(1, 5, 5)), frame(FRAME.STATUS_IS, 1, Buffer.from('{"pid":1}')),
  frame(FRAME.USED_IS, 1, u32(1), text('good'), u32(1, 2, 3))
]
const FRAME_TOKENS = [...FRAMES, u32(0), u32(1), u32(0xffffffff), u32(8), u32(24 * 1024 * 1024 + 1), text('good'), Buffer.of(6), Buffer.of(7)]

/** The same frames however the stream is cut, and what is read off them stays in bounds. */
export function makeWorkerFrames (): Target {
  const cutInto = (input: Buffer, step: number): string => {
    const parser = new FrameParser()
    const frames: unknown[] = []
    try {
      for (let at = 0; at < input.byteLength; at += step) frames.push(...parser.push(input.subarray(at, at + step)))
    } catch (error) {
      if (error instanceof SnapshotterError) return error.code
      throw error
    }
    return shown(frames)
  }
  return {
    seeds: [...FRAMES, Buffer.concat(FRAMES)],
    tokens: FRAME_TOKENS,
    bytesMax: 2048,
    run: (input) => {
      same('cut', cutInto(input, 1), cutInto(input, input.byteLength + 1))
      for (const found of new FrameParser().push(input)) {
        outcomeOf(() => resultOf(found))
        outcomeOf(() => {
          const body = new BodyReader(found.body)
          return [body.text(), chunkRuns(body)]
        })
      }
    }
  }
}

/** The daemon's client behind a worker that sends anything: calls end, and with the next, honest worker they end well. */
export async function makeWorkerSocket (): Promise<Target> {
  const state = folderOf('worker')
  const worker = await ScriptedWorker.start(join(state, 'data.sock'))
  const plane = await DataPlane.connect({ state, native: null, readDeadlineMs: 1000 })
  plane.onFetch((name, runs) => { if (runs.length === 0) throw new Broken(`no runs of ${name}`) })
  return {
    seeds: [HELLO, Buffer.from('{"files":[],"latency":{}}'), Buffer.concat(FRAMES), ...FRAMES.slice(1).map((bytes) => Buffer.concat([HELLO, bytes]))],
    tokens: FRAME_TOKENS,
    bytesMax: 2048,
    batch: 3,
    run: async (input) => {
      const ended = worker.sendInstead(input)
      const listed = plane.list()
      listed.catch(() => {})
      await ended
      // The hostile worker may have answered the call that was under way.
      await listed.catch((error: unknown) => { if (!(error instanceof SnapshotterError)) throw error })
      same('names', shown(await plane.list()), '["good"]')
      worker.status = input
      await plane.status()
    },
    end: async () => { await plane.close(); await worker.close(); rmSync(state, { recursive: true }) }
  }
}

/** The daemon's client of the tree server. */
export async function makeTreeClient (): Promise<Target> {
  const state = folderOf('trees')
  const { mkdirSync } = await import('node:fs')
  mkdirSync(join(state, 'trees'))
  let bytes: Buffer = Buffer.alloc(0)
  const server = await hostileServer(join(state, 'trees', 'sock'), (socket) => { socket.once('data', () => { socket.end(bytes) }) })
  const client = new TreeClient(state)
  return {
    seeds: ['{"targets":[]}\n', '{"targets":["/a","/b"]}\n', '{"code":"MOUNT_FAILED","message":"busy"}\n', 'null\n', ''].map((seed) => Buffer.from(seed)),
    tokens: ['{"targets":', '"code":', '"message":', 'null', '[]', '1', '"x"', '\n', '{}', 'INTERNAL', 'LAYER_INVALID'],
    bytesMax: 1024,
    batch: 7,
    run: async (input) => {
      bytes = input
      const targets: unknown = await client.targets()
      if (!Array.isArray(targets) || !targets.every((target) => typeof target === 'string')) throw new Broken(`targets ${shown(targets)}`)
    },
    end: async () => { server.close(); rmSync(state, { recursive: true }) }
  }
}
