// Which files a container opens, from the native program's job `record-opens`: the kernel tells, so no cache hides a file.
// Only files of the container's own root filesystem; paths as the container sees them, one character per byte.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { SnapshotterError } from '../base/errors.ts'
import { OPENS_RECORDED_MAX } from '../base/limits.ts'
import type { NativeProgram } from './native-program.ts'

export interface RecordedOpens {
  /** False when the container's root filesystem never appeared: nothing ran. */
  readonly watched: boolean
  /** Each once, in the order of first use. */
  readonly paths: readonly string[]
}

export interface OpenRecorder {
  /** After `end`. @throws ENVIRONMENT when the kernel would not tell, LIMIT_EXCEEDED. */
  readonly recorded: Promise<RecordedOpens>
  readonly end: () => void
}

/** Watches from the moment that the root filesystem of container `id` is mounted. `onFirst`: a file was opened, so the command runs. */
export function recordOpens (native: NativeProgram, id: string, onFirst: () => void = () => {}): OpenRecorder {
  // In a session of its own: Ctrl-C at a terminal goes to everybody in ours, and this one must tell what the container opens at its end.
  const job = spawn(native.path, ['record-opens', id], { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  const paths = new Set<string>()
  const state = { watched: false, done: false, complaint: '' }
  job.stdin.on('error', () => {}) // it ended by itself and says why
  job.stderr.setEncoding('utf8').on('data', (text: string) => { state.complaint = `${state.complaint}${text}`.slice(-1024) })
  createInterface({ input: job.stdout.setEncoding('latin1') }).on('line', (line) => {
    if (line.startsWith('/') && paths.size <= OPENS_RECORDED_MAX) {
      if (paths.add(line).size === 1) onFirst()
    } else if (line.startsWith('watching ')) state.watched = true
    else if (line === 'done') state.done = true
  })
  const closed = new Promise<void>((resolve) => { job.once('close', () => { resolve() }).once('error', () => { resolve() }) })
  const recorded = closed.then(() => {
    if (!state.done) throw new SnapshotterError('ENVIRONMENT', `the files that a container opens could not be recorded: ${state.complaint.trim()}`)
    if (paths.size > OPENS_RECORDED_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `the container opened more than ${OPENS_RECORDED_MAX} files`)
    return { watched: state.watched, paths: [...paths] }
  })
  recorded.catch(() => {}) // told to whoever asks for it
  return { recorded, end: () => { job.stdin.end() } }
}
