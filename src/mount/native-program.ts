// Finds the native program, building it at first use where no package brought it, and runs its one-shot jobs in processes of
// their own: a mount or unmount that blocks in the kernel never blocks this one. Refuses to guess: every failure carries the
// job's own words.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, messageOf, SnapshotterError } from '../base/errors.ts'
import { NATIVE_BUILD_DEADLINE_MS, NATIVE_JOB_DEADLINE_MS, NATIVE_OUTPUT_BYTES_MAX, NATIVE_SYNC_DEADLINE_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { JobServer } from './job-server.ts'

/** There in what scripts/package makes, and nowhere else. */
const PACKAGED = fileURLToPath(new URL('../../bin/ipfs-snapshotter-native', import.meta.url))
const BUILD_SCRIPT = fileURLToPath(new URL('../../scripts/build-native', import.meta.url))

/** Failures that no retry cures: the machine lacks a right, a device or a file system. */
const ENVIRONMENT_ERRNOS: ReadonlySet<string> = new Set(['EPERM', 'EACCES', 'ENODEV', 'ENOSYS', 'ENOTBLK'])

interface Outcome { readonly status: number | null, readonly stdout: string, readonly stderr: string }

export interface GuardianInfo {
  readonly pid: number
  /** The FUSE mount, the ramfs mount and the control socket. */
  readonly data: string
  readonly meta: string
  readonly socket: string
}

export class NativeProgram {
  readonly path: string
  readonly #jobs: JobServer

  constructor (path: string) {
    this.path = path
    this.#jobs = new JobServer(path)
  }

  /** Builds the program when its sources are newer. @throws ENVIRONMENT with the build script's one sentence. */
  static async locate (log?: Log): Promise<NativeProgram> {
    if (existsSync(PACKAGED)) return new NativeProgram(PACKAGED)
    const outcome = await runProcess('sh', [BUILD_SCRIPT], NATIVE_BUILD_DEADLINE_MS)
    if (outcome.status !== 0) throw new SnapshotterError('ENVIRONMENT', lastLine(outcome.stderr, 'the native program could not be built'))
    const path = lastLine(outcome.stdout, '')
    log?.debug({ path }, 'native program ready')
    return new NativeProgram(path)
  }

  /**
   * One job, such as ['mount-erofs', meta, dir, '--device', data]; resolves with the JSON object it prints.
   * @throws MOUNT_FAILED or ENVIRONMENT; `details.errno` is the errno's name, `ETIMEDOUT` when the job did not end.
   */
  async run (args: readonly string[], deadlineMs = NATIVE_JOB_DEADLINE_MS): Promise<Readonly<Record<string, unknown>>> {
    const { status, stdout, stderr } = await runProcess(this.path, args, deadlineMs)
    if (status === 0) return JSON.parse(stdout) as Record<string, unknown>
    throw failureOf(args, lastLine(stderr, `EIO: the job ended with status ${status ?? 'of a signal'}`))
  }

  /**
   * The same for the jobs of layers, of which an image has many: mount-erofs, mount-loop, mount-overlay and umount, in a child
   * of the server of jobs. @throws as run
   */
  async job (args: readonly string[], deadlineMs = NATIVE_JOB_DEADLINE_MS): Promise<void> {
    const { status, line } = await this.#jobs.run(args, deadlineMs)
    if (status !== 0) throw failureOf(args, line)
  }

  /** Writes everything out that the directory's filesystem has in memory. @throws RESOURCE_EXHAUSTED when the disk did not take it. */
  async sync (directory: string): Promise<void> {
    try {
      await this.run(['sync', directory], NATIVE_SYNC_DEADLINE_MS)
    } catch (cause) {
      throw new SnapshotterError('RESOURCE_EXHAUSTED', messageOf(cause), {}, { cause })
    }
  }

  /** Tells systemd, if it started us with Type=notify, that we are ready. */
  async notifyReady (): Promise<void> {
    await this.run(['notify', 'READY=1'])
  }

  /** Starts the guardian of a state directory, which outlives this process. False when one has the directory already. */
  async startGuardian (state: string): Promise<GuardianInfo | false> {
    try {
      return await this.run(['guardian', '--state', state]) as unknown as GuardianInfo
    } catch (error) {
      if (error instanceof SnapshotterError && error.details['errno'] === 'EBUSY') return false
      throw error
    }
  }

  /** Ends the guardian and unmounts everything below `state`; false when none runs. */
  async stopGuardian (state: string): Promise<boolean> {
    return (await this.run(['stop', '--state', state]))['stopped'] === true
  }
}

function failureOf (args: readonly string[], line: string): SnapshotterError {
  const errno = /^E[A-Z0-9]+/.exec(line)?.[0] ?? 'EIO'
  const code: ErrorCode = ENVIRONMENT_ERRNOS.has(errno) ? 'ENVIRONMENT' : 'MOUNT_FAILED'
  return new SnapshotterError(code, `${args[0] ?? 'job'}: ${line}`, { errno, args })
}

function lastLine (text: string, otherwise: string): string {
  return text.trim().split('\n').at(-1)?.trim() || otherwise
}

// A process in uninterruptible sleep does not die of SIGKILL: we stop waiting for it then.
async function runProcess (command: string, args: readonly string[], deadlineMs: number): Promise<Outcome> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>()
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const gather = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      if (gather[name].length < NATIVE_OUTPUT_BYTES_MAX) gather[name] += text
    })
  }
  const timer = setTimeout(() => {
    child.kill('SIGKILL')
    child.unref()
    const what = `${args[0] ?? command}: ETIMEDOUT: ${command} did not end within ${deadlineMs} ms`
    reject(new SnapshotterError('MOUNT_FAILED', what, { errno: 'ETIMEDOUT', args }))
  }, deadlineMs)
  child.once('error', (cause) => {
    reject(new SnapshotterError('ENVIRONMENT', `cannot run ${command}: ${cause.message}`, {}, { cause }))
  })
  child.once('close', (status) => { resolve({ status, ...gather }) })
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}
