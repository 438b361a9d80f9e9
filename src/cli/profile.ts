// `profile record`: runs a command in a container of a pulled image and writes down which files it opens, in order: the
// list that `publish --prefetch-list` takes. The container is containerd's own (through `ctr`, which comes with it), on the
// lazy snapshots; it is removed afterwards, whatever happened.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Command } from 'commander'
import { messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { loadConfig } from '../config/load.ts'
import { NativeProgram } from '../mount/native-program.ts'
import { recordOpens } from '../mount/open-recorder.ts'
import { parseReference } from '../oci/reference.ts'
import { spellings } from '../oci/spellings.ts'
import { Interrupted, type Stopping } from './ending.ts'
import { progressFor, type Way } from './progress.ts'

/** Looked up in the image by containerd and runc before the command starts, which nobody can watch. */
const READ_BEFORE_START = ['/etc/passwd', '/etc/group']

interface RecordOptions {
  readonly config?: string
  readonly namespace: string
  readonly snapshotter: string
  readonly out?: string
  readonly quiet?: true
}

export function profileCommand (): Command {
  const record = new Command('record')
    .description('runs COMMAND in a container of a pulled image and lists the files that it opens, for publish --prefetch-list')
    .argument('<image>', 'reference with a digest as pull prints it, or the name of the image in containerd')
    .argument('<command...>', 'what to run, after --')
    .option('--config <file>', 'settings (TOML)')
    .option('--namespace <name>', 'containerd namespace', 'default')
    .option('--snapshotter <name>', 'name of this snapshotter in containerd', 'ipfs')
    .option('--out <file>', 'where to write the list (default: stdout; the command\'s output goes to stderr then)')
    .option('-q, --quiet', 'no progress')
    .action(async (image: string, command: string[], options: RecordOptions) => {
      process.exitCode = await recordProfile(nameOf(image), command, options)
    })
  return new Command('profile').description('what images need first').addCommand(record.exitOverride().showHelpAfterError())
}

/** Returns the command's exit status. @throws NOT_FOUND for the image, CONTAINERD, ENVIRONMENT, INVALID_ARGUMENT for --out. */
async function recordProfile (image: string, command: readonly string[], options: RecordOptions): Promise<number> {
  const { containerdAddress } = loadConfig(options.config)
  const native = await NativeProgram.locate()
  const id = `profile-${randomBytes(8).toString('hex')}`
  const ctr = ['--address', containerdAddress, '--namespace', options.namespace]
  const write = options.out === undefined
    ? async (text: Buffer) => { process.stdout.write(text) }
    : await openList(options.out, id)
  const recorder = recordOpens(native, id, () => {
    note(options, `recording what ${command[0] ?? ''} opens in ${image}, until it ends; Ctrl-C ends it, too, and keeps the list`, 'quiet')
  })
  let status: number
  try {
    status = await runContainer(ctr, id, image, command, options)
  } finally {
    await discard(ctr, id, options.snapshotter)
    recorder.end()
  }
  const { watched, paths } = await recorder.recorded
  if (!watched) throw new SnapshotterError('CONTAINERD', `the container of ${image} never had a root filesystem that could be watched`)
  const list = [...new Set([...READ_BEFORE_START, ...paths])]
  await write(Buffer.from(list.map((path) => `${path}\n`).join(''), 'latin1'))
  note(options, `${list.length} files recorded`)
  return status
}

/** No rows that are drawn in place: the command's own output goes to the same terminal. */
function note ({ quiet }: RecordOptions, text: string, elsewhere: Way = 'json'): void {
  progressFor({ progress: 'auto', quiet }, elsewhere).report({ event: 'note', text })
}

function nameOf (image: string): string {
  try {
    const { cid, digest } = parseReference(image)
    return digest === null ? image : spellings(cid, digest).ctr
  } catch {
    return image
  }
}

/** The list appears whole, or what was there stays. */
async function openList (path: string, id: string): Promise<(text: Buffer) => Promise<void>> {
  const temporary = `${path}.${id}`
  const file = await open(temporary, 'wx').catch((cause: unknown) => {
    throw new SnapshotterError('INVALID_ARGUMENT', `--out ${path} cannot be written (${systemCode(cause) ?? messageOf(cause)})`, {}, { cause })
  })
  await file.close()
  await rm(temporary)
  return async (text) => {
    await using list = await open(temporary, 'wx')
    await list.writeFile(text)
    await rename(temporary, path)
  }
}

async function runContainer (
  ctr: readonly string[], id: string, image: string, command: readonly string[], { snapshotter, namespace, out }: RecordOptions
): Promise<number> {
  const child = spawn('ctr', [...ctr, 'run', '--rm', '--snapshotter', snapshotter, image, id, ...command], {
    stdio: ['inherit', out === undefined ? process.stderr : process.stdout, 'pipe']
  })
  let complaint: string | undefined
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (line.startsWith('ctr: ')) complaint = line.slice('ctr: '.length)
    else process.stderr.write(`${line}\n`)
  })
  // ctr passes the first on to the container, which ends and is cleaned up. One that does not end is killed by the second.
  const asked: Stopping[] = []
  const onSignal = (signal: Stopping): void => { if (asked.push(signal) > 1) child.kill('SIGKILL') }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  try {
    const status = await new Promise<number>((resolve, reject) => {
      child.once('error', (cause) => {
        reject(new SnapshotterError('ENVIRONMENT', `ctr, which comes with containerd, cannot be run: ${cause.message}`, {}, { cause }))
      })
      child.once('close', (code) => { resolve(code ?? 1) })
    })
    const [, second] = asked
    if (second !== undefined) throw new Interrupted(second, 'no list was written and the container is removed, run the same command again')
    if (status === 0 || complaint === undefined) return status
    if (/^image ".*": not found/.test(complaint)) {
      throw new SnapshotterError('NOT_FOUND', `containerd has no image ${image} in namespace ${namespace}; pull it first`)
    }
    throw new SnapshotterError('CONTAINERD', `the container did not start: ${complaint}`)
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}

/** What `ctr run --rm` leaves when it is killed or cannot start; mostly nothing. */
async function discard (ctr: readonly string[], id: string, snapshotter: string): Promise<void> {
  for (const args of [['task', 'rm', '--force', id], ['container', 'rm', id], ['snapshot', '--snapshotter', snapshotter, 'rm', id]]) {
    const child = spawn('ctr', [...ctr, ...args], { stdio: 'ignore' })
    await new Promise<void>((resolve) => { child.once('close', () => { resolve() }).once('error', () => { resolve() }) })
  }
}
