// `setup containerd`: says what containerd's configuration lacks to use this snapshotter, and with --write puts it there. Nothing is
// changed without --write; a second run finds nothing to do.
import { Command } from 'commander'
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { type ContainerdPatch, type ContainerdVersion, type ContainerdWish, patchContainerdConfig } from '../config/containerd-config.ts'
import { type Config, loadConfig } from '../config/load.ts'
import type { Hunk } from '../config/toml-edit.ts'
import { repeated } from './flag-values.ts'
import { readOptional, replaceFile } from './setup-files.ts'

interface Flags {
  readonly config?: string
  readonly containerdConfig: string
  readonly hostsDir: string
  readonly name: readonly string[]
  readonly cri?: true
  readonly content?: true
  readonly containerd: string
  readonly write?: true
  readonly force?: true
  readonly json?: true
}

interface Planned { readonly path: string, readonly before: string | null, readonly after: string, readonly hunks: readonly Hunk[] }
interface Done { readonly path: string, readonly action: 'none' | 'create' | 'change', readonly backup: string | null, readonly hunks: readonly Hunk[] }

const PROBE_MS = 10_000

export function setupCommand (): Command {
  const containerd = new Command('containerd')
    .description('prints what containerd must be told to use this snapshotter; --write tells it')
    .option('--config <file>', 'settings (TOML)')
    .option('--containerd-config <file>', "containerd's settings", '/etc/containerd/config.toml')
    .option('--hosts-dir <dir>', 'folder of hosts.toml files', '/etc/containerd/certs.d')
    .option('--name <plugin>', 'name of this snapshotter in containerd (repeats; default: ipfs)', repeated, [])
    .option('--cri', 'Kubernetes uses it, too')
    .option('--content', "serve containerd's content as well, instead of its own store")
    .option('--containerd <program>', 'the containerd that reads the settings', 'containerd')
    .option('--write', 'change the files')
    .option('--force', 'replace values that are already there')
    .option('--json', 'print one JSON object')
    .exitOverride()
    .showHelpAfterError()
    .action((flags: Flags) => {
      setUpContainerd({ ...flags, containerdConfig: resolve(flags.containerdConfig), hostsDir: resolve(flags.hostsDir) })
    })
  return new Command('setup').description('makes a container engine use this snapshotter').addCommand(containerd)
}

function setUpContainerd (flags: Flags): void {
  const config = loadConfig(flags.config)
  const found = versionOf(flags.containerd)
  const { planned, notes } = plan(flags, config, found)
  const isWriting = flags.write === true
  const done = planned.map((file): Done => {
    const action = file.before === file.after ? 'none' : file.before === null ? 'create' : 'change'
    const backup = isWriting && action !== 'none' ? replaceFile(file.path, file.before, file.after) : null
    return { path: file.path, action, backup, hunks: file.hunks }
  })
  const isChanged = done.some(({ action }) => action !== 'none')
  const next = !isChanged ? [] : isWriting ? ['restart containerd: systemctl restart containerd'] : ['nothing was changed; --write does it']
  const result = { containerd: found.text, written: isWriting && isChanged, files: done, notes: [...notes, ...next] }
  process.stdout.write(flags.json === true ? `${JSON.stringify(result)}\n` : inWords(result))
}

function plan (flags: Flags, config: Config, version: ContainerdVersion): { readonly planned: readonly Planned[], readonly notes: readonly string[] } {
  const wish: ContainerdWish = {
    names: flags.name.length === 0 ? ['ipfs'] : flags.name,
    address: config.grpcAddress,
    hostsDir: flags.hostsDir,
    cri: flags.cri === true,
    content: flags.content === true,
    version,
    force: flags.force === true
  }
  const before = readOptional(flags.containerdConfig)
  const patch = about(flags.containerdConfig, () => patchContainerdConfig(before, wish))
  if (wish.content && !wish.force) refuseLosingContent(patch)
  const planned: Planned[] = [{ path: flags.containerdConfig, before, after: patch.text, hunks: patch.hunks }]
  const registry = config.registryAddress
  if (registry === null || registry.endsWith(':0')) {
    return { planned, notes: ['names like ipfs:0/CID need the registry: add to our config [registry] address = "127.0.0.1:5050", and run this again'] }
  }
  return { planned: [...planned, plannedHosts(flags, registry)], notes: [] }
}

/** containerd of every version looks for `ipfs:0` in `ipfs_0_` first. As one of its hosts, not its server, we would be followed by one called `ipfs`. */
function plannedHosts ({ hostsDir, force }: Flags, registry: string): Planned {
  const path = join(hostsDir, 'ipfs_0_', 'hosts.toml')
  const before = readOptional(path)
  const lines = [`server = "http://${registry}"`, 'capabilities = ["pull", "resolve"]', '[host] # containerd 1.6 wants this table']
  const after = `${lines.join('\n')}\n`
  if (before !== null && before !== after && force !== true) {
    throw new SnapshotterError('CONFIG_INVALID', `${path} says something else than ${lines.join(', ')}; --force replaces it`)
  }
  return { path, before, after, hunks: before === after ? [] : [{ line: 1, removed: before?.trimEnd().split('\n') ?? [], added: lines }] }
}

/** The blobs of containerd's own store are out of its sight when ours takes its place. */
function refuseLosingContent ({ root, hasOurContent }: ContainerdPatch): void {
  if (hasOurContent) return
  const blobs = join(root, 'io.containerd.content.v1.content', 'blobs')
  let folders: string[] = []
  try {
    folders = readdirSync(blobs, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('/'))
  } catch (cause) {
    if (systemCode(cause) !== 'ENOENT') {
      throw new SnapshotterError('ENVIRONMENT', `${blobs} cannot be read (${systemCode(cause) ?? messageOf(cause)})`, {}, { cause })
    }
  }
  if (folders.length > 0) {
    throw new SnapshotterError('FAILED_PRECONDITION',
      `containerd has ${folders.length} blobs in ${blobs}, which --content would hide from it; remove its images first, or add --force`)
  }
}

function about<Result> (file: string, work: () => Result): Result {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof SnapshotterError) || error.code === 'INVALID_ARGUMENT') throw error
    throw new SnapshotterError(error.code, `${file}: ${error.message}`, error.details, { cause: error })
  }
}

function versionOf (program: string): ContainerdVersion & { readonly text: string } {
  let printed: string
  try {
    printed = execFileSync(program, ['--version'], { encoding: 'utf8', timeout: PROBE_MS, stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (cause) {
    throw new SnapshotterError('ENVIRONMENT', `${program} --version fails (${systemCode(cause) ?? messageOf(cause)}); name it with --containerd`, {}, { cause })
  }
  const [, text, major, minor] = /\bv?((\d+)\.(\d+)\.\d\S*)/.exec(printed) ?? []
  if (text === undefined) throw new SnapshotterError('ENVIRONMENT', `${program} --version says no version: ${printed.trim()}`)
  return { text, major: Number(major), minor: Number(minor) }
}

function inWords ({ files, notes }: { readonly files: readonly Done[], readonly notes: readonly string[] }): string {
  const lines = files.flatMap(({ path, action, backup, hunks }) => [
    `${path}: ${action === 'none' ? 'nothing to do' : action}${backup === null ? '' : `, the old one is ${backup}`}`,
    ...hunks.flatMap(({ line, removed, added }) => [`@ line ${line}`, ...removed.map((text) => `- ${text}`), ...added.map((text) => `+ ${text}`)])
  ])
  return [...lines, ...notes].map((line) => `${line}\n`).join('')
}
