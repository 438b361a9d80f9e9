// A shell on what looks like a machine of its own: own processes, mounts and network, empty /run, and copies of /etc, /var/lib and /opt that
// nobody else sees, so that commands for a whole node run here to the letter. All of it ends with the shell.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { loopsOn, processesOf } from './traces.ts'

const PATIENCE_MS = 120_000
const UNSHARE = ['--mount', '--pid', '--net', '--ipc', '--uts', '--fork', '--kill-child', '--mount-proc', 'bash', '--noprofile', '--norc']
const COPIED = ['/etc', '/var/lib', '/opt']
/** On the disk, since they hold layers: no overlayfs stands on a memory file system's files everywhere. */
const ON_DISK = ['/var/lib/containerd', '/var/lib/ipfs-snapshotter']

export interface Said { readonly code: number, readonly stdout: string }

export class OwnMachine {
  /** Where the shell starts. */
  readonly folder = mkdtempSync(join(tmpdir(), 'machine-'))
  readonly #shell: ChildProcess
  readonly #log = join(this.folder, 'stderr')
  #stdout = ''
  #typed = 0

  private constructor (first: string) {
    const path = `${first}${delimiter}${process.env['PATH'] ?? ''}`
    this.#shell = spawn('unshare', UNSHARE, { cwd: this.folder, env: { ...process.env, PATH: path }, stdio: ['pipe', 'pipe', openSync(this.#log, 'a')] })
    this.#shell.stdout?.setEncoding('utf8').on('data', (text: string) => { this.#stdout += text })
  }

  /** Programs in the folder `first` are found before others. */
  static async start (first: string): Promise<OwnMachine> {
    const machine = new OwnMachine(first)
    const { folder } = machine
    for (const name of ['copies', 'disk']) mkdirSync(join(folder, name))
    const copies = COPIED.map((path, at) => {
      const [upper, work] = [`${folder}/copies/${at}`, `${folder}/copies/work-${at}`]
      return `mkdir ${upper} ${work} && mount -t overlay overlay -o lowerdir=${path},upperdir=${upper},workdir=${work} ${path}`
    })
    const disk = ON_DISK.map((path, at) => `mkdir -p ${path} ${folder}/disk/${at} && mount --bind ${folder}/disk/${at} ${path}`)
    // The copies of mounts of other tests would keep those alive.
    const others = `cut -d ' ' -f 2 /proc/self/mounts | grep '^${tmpdir()}/' | tac | xargs -r umount -l`
    for (const line of [others, 'busybox ip link set lo up', 'mount -t tmpfs tmpfs /run', `mount -t tmpfs tmpfs ${folder}/copies`, ...copies, ...disk]) {
      await machine.done(line)
    }
    return machine
  }

  /** Types a command, and waits for the prompt. */
  async type (command: string): Promise<Said> {
    const mark = `--- ${this.#typed++} ended with`
    const from = this.#stdout.length
    this.#shell.stdin?.write(`{ ${command}\n} < /dev/null; echo "\n${mark} $?"\n`)
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end && this.#shell.exitCode === null;) {
      const [, stdout = '', code] = new RegExp(`^(.*)\n${mark} (\\d+)\n`, 's').exec(this.#stdout.slice(from)) ?? []
      if (code !== undefined) return { code: Number(code), stdout }
      await new Promise((resolve) => { setTimeout(resolve, 20) })
    }
    throw new Error(`${command}: no end\n${this.stderr.slice(-2000)}`)
  }

  /** What the command printed. @throws when it fails */
  async done (command: string): Promise<string> {
    const { code, stdout } = await this.type(command)
    if (code !== 0) throw new Error(`${command}: exit ${code}\n${stdout}${this.stderr.slice(-2000)}`)
    return stdout
  }

  /** Types the command until it succeeds. */
  async until (command: string): Promise<void> {
    for (const end = Date.now() + PATIENCE_MS; (await this.type(command)).code !== 0;) {
      if (Date.now() > end) throw new Error(`${command}: fails still\n${this.stderr.slice(-2000)}`)
    }
  }

  get stderr (): string {
    return readFileSync(this.#log, 'utf8')
  }

  /** @throws when something of it is left on the real machine */
  async end (): Promise<void> {
    const ended = new Promise<void>((resolve) => { this.#shell.once('exit', () => { resolve() }) })
    if (this.#shell.exitCode === null && this.#shell.signalCode === null) {
      this.#shell.stdin?.end()
      const late = setTimeout(() => { this.#shell.kill('SIGKILL') }, 15_000)
      await ended
      clearTimeout(late)
    }
    const left = [...processesOf(this.folder), ...loopsOn(this.folder)]
    rmSync(this.folder, { recursive: true, force: true })
    if (left.length > 0) throw new Error(`left behind:\n${left.join('\n')}`)
  }
}
