// `doctor`: looks at everything a node needs, says what is missing and what to do about it. Changes nothing.
import { access, constants, readFile } from 'node:fs/promises'
import { release } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import { asSnapshotterError, messageOf } from '../base/errors.ts'
import { type Log, silentLog } from '../base/log.ts'
import type { Config } from '../config/load.ts'
import { ContainerdClient } from '../grpc/containerd-client.ts'
import { callControl } from '../http/control-client.ts'
import { GatewayHttp } from '../ipfs/gateway-http.ts'
import { NativeProgram } from '../mount/native-program.ts'
import { clock, type NodeFacts, openFiles, runc, space, storage, thisNode } from './doctor-node.ts'

export interface Check {
  readonly name: string
  readonly ok: boolean
  /** False: images run without it, if not as well. */
  readonly needed: boolean
  readonly detail: string
  /** What to do; empty when nothing is to be done. */
  readonly hint: string
}

interface Outcome { readonly detail: string }

/** The trustless gateway spec's own probe: an empty identity block. */
const PROBE_CID = 'bafkqaaa'
const EROFS_FILE_BACKED = [6, 12]
const EROFS_LOOP = [5, 16]

export async function examine (config: Config, snapshotter: string, log: Log = silentLog, facts: NodeFacts = thisNode): Promise<Check[]> {
  return await Promise.all([
    check('root', 'run as root, or give the service CAP_SYS_ADMIN', async () => {
      if (process.getuid?.() !== 0) throw new Error(`running as uid ${process.getuid?.() ?? 'unknown'}`)
      return { detail: 'running as root' }
    }),
    check('kernel', 'Linux 5.16 or newer with EROFS is needed, 6.12 or newer is better', async () => await kernel()),
    check('filesystems', 'load the modules: modprobe erofs overlay fuse', async () => await filesystems()),
    check('fuse', 'modprobe fuse, or pass /dev/fuse into this container', async () => {
      await access('/dev/fuse', constants.R_OK | constants.W_OK)
      return { detail: '/dev/fuse can be opened' }
    }),
    check('native', 'install g++, zlib1g-dev and libssl-dev; the program is built at first use', async () => {
      return { detail: `the native program is built: ${(await NativeProgram.locate(log)).path}` }
    }),
    check('daemon', 'start it with: ipfs-snapshotter serve', async () => {
      const status = await callControl(join(config.state, 'control.sock'), '/status', null) as { readonly driver: string }
      return { detail: `answers, driver ${status.driver}` }
    }),
    check('containerd', `add [proxy_plugins.${snapshotter}] type = "snapshot", address = "${config.grpcAddress}" to containerd's config and restart it`,
      async () => await containerd(config, snapshotter)),
    check('sources', 'name a trustless gateway in the config file: [[source]] type = "gateway", url = "https://…"', async () => await sources(config)),
    check('storage', 'see [root] and [state]', async () => ({ detail: await storage(config, facts) })),
    check('space', 'free some, or lower [cache] max_size: a full disk makes reads slow, not wrong',
      async () => ({ detail: await space(config, facts) }), false),
    check('open-files', 'set LimitNOFILE= in the unit, or ulimit -n', async () => ({ detail: await openFiles(facts) })),
    check('clock', 'set it, or start a time service', async () => ({ detail: await clock(facts) })),
    check('runc', 'apt-get install runc; another runtime of containerd will do, too', async () => ({ detail: await runc(facts) }), false)
  ])
}

async function check (name: string, hint: string, examineIt: () => Promise<Outcome>, needed = true): Promise<Check> {
  try {
    return { name, ok: true, needed, ...await examineIt(), hint: '' }
  } catch (error) {
    return { name, ok: false, needed, detail: error instanceof Error && 'line' in error ? asSnapshotterError(error).line : messageOf(error), hint }
  }
}

async function kernel (): Promise<Outcome> {
  const version = release()
  const numbers = version.split('.').map((part) => parseInt(part, 10))
  if (!atLeast(numbers, EROFS_LOOP)) throw new Error(`Linux ${version}`)
  return { detail: `Linux ${version}: ${atLeast(numbers, EROFS_FILE_BACKED) ? 'driver erofs' : 'driver erofs-loop'} fits` }
}

function atLeast (numbers: readonly number[], wanted: readonly number[]): boolean {
  const [major = 0, minor = 0] = numbers
  const [wantedMajor = 0, wantedMinor = 0] = wanted
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
}

async function filesystems (): Promise<Outcome> {
  const known = new Set((await readFile('/proc/filesystems', 'utf8')).split('\n').map((line) => line.split('\t')[1]))
  const missing = ['erofs', 'overlay', 'fuse'].filter((name) => !known.has(name))
  if (missing.length > 0) throw new Error(`the kernel does not know ${missing.join(', ')}`)
  return { detail: 'erofs, overlay and fuse are there' }
}

async function containerd (config: Config, snapshotter: string): Promise<Outcome> {
  const client = new ContainerdClient({ address: config.containerdAddress, namespace: 'default' })
  try {
    const [plugin] = await client.plugins(`type==io.containerd.snapshotter.v1,id==${snapshotter}`)
    if (plugin === undefined) throw new Error(`containerd at ${config.containerdAddress} has no snapshotter ${snapshotter}`)
    if (plugin.initErr !== null) throw new Error(`containerd's plugin ${snapshotter} did not start: ${plugin.initErr.message}`)
    const address = plugin.exports['address'] ?? config.grpcAddress
    if (address !== config.grpcAddress) throw new Error(`its snapshotter ${snapshotter} is at ${address}, we listen on ${config.grpcAddress}`)
    return { detail: `containerd ${await client.version()} has the snapshotter ${snapshotter}` }
  } finally {
    client.close()
  }
}

async function sources (config: Config): Promise<Outcome> {
  if (config.sources.length === 0) throw new Error('no source is configured')
  const answers: string[] = []
  for (const source of config.sources) {
    if (source.type === 'car') {
      await access(source.path, constants.R_OK)
      answers.push(source.path)
      continue
    }
    const http = new GatewayHttp({ ...source, clock: systemClock }) // with the token and the CA of this source
    try {
      const asked = systemClock.monotonicMs()
      const answer = await http.get(`/ipfs/${PROBE_CID}?format=raw`, 'application/vnd.ipld.raw', () => {})
      await answer.finish()
      answers.push(`${http.name} ${answer.status} in ${Math.round(systemClock.monotonicMs() - asked)} ms`)
      if (answer.status !== 200) throw new Error(`${http.name} answers ${answer.status} to the probe of the trustless gateway spec`)
    } finally {
      await http.close()
    }
  }
  return { detail: `${config.sources.length} configured, all answer: ${answers.join(', ')}` }
}
