// The daemon's end of the tree server: starts it when nobody listens, asks one question a connection. An answer that does
// not come within its deadline is an error; whether the server did what was asked is then found out by asking again.
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type ErrorCode, ERROR_CODES, messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { TREE_ANSWER_CHARS_MAX, TREE_SERVER_CALL_MS, TREE_SERVER_DIAL_MS, TREE_SERVER_START_MS, TREE_SERVER_THREADS } from '../base/limits.ts'
import { TREE_SERVER, type TreeRequest, type TreeToMount } from './tree-server.ts'

export class TreeClient {
  readonly #socket: string
  readonly #log: string
  #starting: Promise<void> | null = null

  /** `state`: the guardian's state directory. */
  constructor (state: string) {
    this.#socket = join(state, 'trees', 'sock')
    this.#log = join(state, 'trees', 'log')
  }

  /** Starts the server if need be. @throws ENVIRONMENT, MOUNT_FAILED, UNSUPPORTED, LAYER_INVALID. */
  async mount (tree: TreeToMount): Promise<void> {
    const request = { do: 'mount', ...tree } as const
    if (await this.#ask(request) !== null) return
    this.#starting ??= this.#start().finally(() => { this.#starting = null })
    await this.#starting
    if (await this.#ask(request) === null) throw new SnapshotterError('MOUNT_FAILED', `the tree server on ${this.#socket} ended`)
  }

  /** After the target was unmounted. */
  async forget (target: string): Promise<void> {
    await this.#ask({ do: 'forget', target })
  }

  /** What it shows; nothing when it does not run. */
  async targets (): Promise<readonly string[]> {
    return await this.#ask({ do: 'list' }) ?? []
  }

  /** Also when none runs. Its mounts must be gone. */
  async end (): Promise<void> {
    await this.#ask({ do: 'end' })
    const deadline = AbortSignal.timeout(TREE_SERVER_START_MS)
    while (await this.#ask({ do: 'list' }) !== null) await delay(TREE_SERVER_DIAL_MS, undefined, { signal: deadline })
  }

  /** The targets that it shows afterwards; null when nobody listens. */
  async #ask (request: TreeRequest): Promise<readonly string[] | null> {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const socket = connect({ path: this.#socket })
    const timer = setTimeout(() => {
      reject(new SnapshotterError('MOUNT_FAILED', `${request.do}: the tree server on ${this.#socket} did not answer within ${TREE_SERVER_CALL_MS} ms`))
    }, TREE_SERVER_CALL_MS)
    let text = ''
    socket.setEncoding('utf8').on('data', (piece: string) => {
      text += piece
      if (text.length > TREE_ANSWER_CHARS_MAX) socket.destroy(senseless(`more than ${TREE_ANSWER_CHARS_MAX} characters`))
    })
    socket.once('error', reject).once('close', () => { resolve(text) })
    socket.write(`${JSON.stringify(request)}\n`)
    try {
      return targetsIn(await promise)
    } catch (error) {
      if (['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(systemCode(error) ?? '')) return null
      throw error
    } finally {
      clearTimeout(timer)
      socket.destroy()
    }
  }

  /** Resolves when it listens. It outlives us: in a session of its own, its words in a file. */
  async #start (): Promise<void> {
    mkdirSync(dirname(this.#log), { recursive: true, mode: 0o700 })
    const log = openSync(this.#log, 'a', 0o600)
    // Each thread of the pool may wait for the network; Node's default of four would let one dead layer stop all others.
    const child = spawn('env', [`UV_THREADPOOL_SIZE=${TREE_SERVER_THREADS}`, process.execPath, '--disable-warning=ExperimentalWarning', TREE_SERVER,
      this.#socket], { detached: true, stdio: ['ignore', log, log], cwd: '/' })
    closeSync(log)
    const ended = new AbortController()
    child.once('error', (error) => { ended.abort(error) }).once('exit', () => { ended.abort() })
    child.unref()
    const deadline = AbortSignal.any([ended.signal, AbortSignal.timeout(TREE_SERVER_START_MS)])
    while (await this.#ask({ do: 'list' }) === null) {
      await delay(TREE_SERVER_DIAL_MS, undefined, { signal: deadline }).catch((cause: unknown) => {
        const words = readFileSync(this.#log, 'utf8').trim().split('\n').at(-1) ?? ''
        throw new SnapshotterError('MOUNT_FAILED', `the tree server did not start within ${TREE_SERVER_START_MS} ms: ${words}`, {}, { cause })
      })
    }
  }
}

function targetsIn (line: string): readonly string[] | null {
  if (line === '') return null // it ended while we asked
  const { targets, code, message } = fieldsOf(line)
  if (Array.isArray(targets) && targets.every((target) => typeof target === 'string')) return targets
  if (typeof code !== 'string' || typeof message !== 'string') throw senseless('neither targets nor an error')
  const known = ERROR_CODES.find((one): one is ErrorCode => one === code) ?? 'INTERNAL'
  throw new SnapshotterError(known === 'INTERNAL' ? 'MOUNT_FAILED' : known, message)
}

function fieldsOf (line: string): Readonly<Record<string, unknown>> {
  try {
    return (JSON.parse(line) ?? {}) as Readonly<Record<string, unknown>>
  } catch (cause) {
    throw senseless(`no JSON (${messageOf(cause)})`)
  }
}

function senseless (what: string): SnapshotterError {
  return new SnapshotterError('MOUNT_FAILED', `the tree server answered ${what}`)
}
