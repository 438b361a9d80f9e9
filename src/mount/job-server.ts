// Hands mount jobs to a small native process that forks a child for each: a fork of this one copies the page tables of
// hundreds of MiB and holds its only thread meanwhile (8 ms; an image has up to 127 layers). A job that blocks in the kernel
// blocks its child alone. The server ends when this process does, and is started again when it ended before.
import { type ChildProcess, spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import { messageOf, SnapshotterError } from '../base/errors.ts'
import { NATIVE_ANSWER_GRACE_MS } from '../base/limits.ts'

const HEAD_BYTES = 12

export interface JobOutcome {
  /** 0: done. */
  readonly status: number
  /** Of a failed job: `ENAME: what`. */
  readonly line: string
}

interface Waiting {
  readonly resolve: (outcome: JobOutcome) => void
  readonly reject: (error: Error) => void
}

export class JobServer {
  readonly #path: string
  readonly #waiting = new Map<number, Waiting>()
  #child: ChildProcess | null = null
  #lastId = 0
  #unread: Buffer = Buffer.alloc(0)

  /** `path`: of the native program. */
  constructor (path: string) {
    this.#path = path
  }

  /** @throws ENVIRONMENT when the server cannot be started, MOUNT_FAILED when it died or keeps silent; the job may have been done then. */
  async run (words: readonly string[], deadlineMs: number): Promise<JobOutcome> {
    const { promise, resolve, reject } = Promise.withResolvers<JobOutcome>()
    const id = this.#lastId = this.#lastId % 0xffffffff + 1
    const late = (): void => {
      const what = `${words[0] ?? 'job'}: ETIMEDOUT: it did not end within ${deadlineMs} ms`
      reject(new SnapshotterError('MOUNT_FAILED', what, { errno: 'ETIMEDOUT', args: words }))
    }
    // A child in uninterruptible sleep does not die at its deadline: we stop waiting for it a moment later.
    const timer = setTimeout(late, deadlineMs + NATIVE_ANSWER_GRACE_MS)
    this.#waiting.set(id, { resolve, reject })
    try {
      this.#started().stdin?.write(requestOf(id, deadlineMs, words))
      return await promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(id)
    }
  }

  #started (): ChildProcess {
    if (this.#child !== null) return this.#child
    const child = spawn(this.#path, ['jobs'], { stdio: ['pipe', 'pipe', 'ignore'] })
    this.#child = child
    this.#unread = Buffer.alloc(0)
    // Whoever waits for a job holds this process by its timer; the server alone does not.
    child.unref()
    for (const pipe of [child.stdin, child.stdout]) (pipe as unknown as Socket).unref()
    child.stdin.on('error', () => {}) // its end is told below
    child.stdout.on('data', (bytes: Buffer) => { this.#take(bytes) })
    child.once('error', (cause) => {
      this.#lost(child, new SnapshotterError('ENVIRONMENT', `cannot run ${this.#path}: ${messageOf(cause)}`, {}, { cause }))
    })
    child.once('close', () => { this.#lost(child, new SnapshotterError('MOUNT_FAILED', 'the server of mount jobs ended', { errno: 'EIO' })) })
    return child
  }

  #lost (child: ChildProcess, error: SnapshotterError): void {
    if (this.#child !== child) return
    this.#child = null
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  #take (bytes: Buffer): void {
    this.#unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes])
    while (this.#unread.length >= HEAD_BYTES) {
      const end = HEAD_BYTES + this.#unread.readUInt32LE(8)
      if (this.#unread.length < end) return
      const outcome = { status: this.#unread.readUInt32LE(4), line: this.#unread.toString('utf8', HEAD_BYTES, end) }
      this.#waiting.get(this.#unread.readUInt32LE(0))?.resolve(outcome)
      this.#unread = this.#unread.subarray(end)
    }
  }
}

function requestOf (id: number, deadlineMs: number, words: readonly string[]): Buffer {
  const body = Buffer.from(words.map((word) => `${word}\0`).join(''))
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt32LE(body.length, 0)
  head.writeUInt32LE(id, 4)
  head.writeUInt32LE(deadlineMs, 8)
  return Buffer.concat([head, body])
}
