// `doctor`: looks at everything a node needs, says what is missing and what to do about it. Changes nothing.
import { access, constants, readlink } from 'node:fs/promises'
import { release } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import { asSnapshotterError, messageOf, systemCode } from '../base/errors.ts'
import { type Log, silentLog } from '../base/log.ts'
import type { Config } from '../config/load.ts'
import { ContainerdClient } from '../grpc/containerd-client.ts'
import { requireFree } from '../grpc/server.ts'
import { callControl } from '../http/control-client.ts'
import { GatewayHttp } from '../ipfs/gateway-http.ts'
import { NativeProgram } from '../mount/native-program.ts'
import { clock, openFiles, runc, space, storage, thisNode } from './doctor-node.ts'
import { fileSystems, kernel, loop, sameBuild, type ServingFacts, sockets, transfer } from './doctor-serving.ts'

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

const here: ServingFacts = {
  ...thisNode,
  openError: async (path) => await access(path, constants.R_OK | constants.W_OK).then(() => null, (error: unknown) => systemCode(error) ?? messageOf(error)),
  link: async (path) => await readlink(path).catch(() => null),
  requireFree
}

export async function examine (config: Config, snapshotter: string, log: Log = silentLog, facts: ServingFacts = here): Promise<Check[]> {
  const daemon = callControl(join(config.state, 'control.sock'), '/status', null) as Promise<{ readonly driver: string }>
  const native = NativeProgram.locate(log)
  const list = facts.read('/proc/filesystems')
  for (const told of [daemon, native, list] as const) told.catch(() => {}) // by the checks that ask
  return await Promise.all([
    check('root', 'run as root, or give the service CAP_SYS_ADMIN', async () => {
      if (process.getuid?.() !== 0) throw new Error(`running as uid ${process.getuid?.() ?? 'unknown'}`)
      return { detail: 'running as root' }
    }),
    check('kernel', 'set [mount] driver = "auto", or "fuse" where there is no EROFS; Linux 6.12 or newer is best', async () =>
      ({ detail: kernel(release(), /\terofs$/m.test(await list), config.driver) })),
    check('filesystems', 'load the modules: modprobe erofs overlay fuse', async () => ({ detail: fileSystems(await list).detail })),
    check('loop', 'modprobe loop, or pass /dev/loop-control and loop devices into this container; only the driver erofs-loop needs them',
      async () => ({ detail: await loop(facts) }), config.driver === 'erofs-loop'),
    check('fuse', 'modprobe fuse, or pass /dev/fuse into this container', async () => {
      await access('/dev/fuse', constants.R_OK | constants.W_OK)
      return { detail: '/dev/fuse can be opened' }
    }),
    check('native', 'install g++, zlib1g-dev and libssl-dev; the program is built at first use', async () => {
      return { detail: `the native program is built: ${(await native).path}` }
    }),
    check('guardian', 'a new build comes into use with: ipfs-snapshotter serve --stop, then serve; until then the old one serves',
      async () => ({ detail: await sameBuild((await native).path, config.state, facts) }), false),
    check('sockets', 'stop who has them, or choose other places: [grpc] address and state; chmod 711 the folders', async () =>
      ({ detail: await sockets(config, await daemon.then(() => true, () => false), facts) })),
    check('daemon', 'start it with: ipfs-snapshotter serve', async () => {
      return { detail: `answers, driver ${(await daemon).driver}` }
    }),
    check('containerd', `run: ipfs-snapshotter setup containerd --name ${snapshotter} --write, then restart containerd`,
      async () => await containerd(config, snapshotter)),
    check('transfer',
      `unpack_config must name ${snapshotter}; run: ipfs-snapshotter setup containerd --name ${snapshotter} --write, then restart containerd`,
      async () => ({ detail: await containerdsOwnPull(config, snapshotter, facts) }), false),
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

async function containerd (config: Config, snapshotter: string): Promise<Outcome> {
  const client = new ContainerdClient({ address: config.containerdAddress, namespace: 'default' })
  try {
    const [plugin] = await client.plugins(`type==io.containerd.snapshotter.v1,id==${snapshotter}`)
    if (plugin === undefined) throw new Error(`containerd at ${config.containerdAddress} has no snapshotter ${snapshotter}`)
    if (plugin.initErr !== null) throw new Error(`containerd's plugin ${snapshotter} did not start: ${plugin.initErr.message}`)
    const address = plugin.exports['address'] ?? config.grpcAddress
    if (address !== config.grpcAddress) throw new Error(`its snapshotter ${snapshotter} is at ${address}, we listen on ${config.grpcAddress}`)
    if (plugin.capabilities.includes('rebase')) throw new Error(`its proxy_plugins say that ${snapshotter} can rebase: take that away, or it pulls in vain`)
    return { detail: `containerd ${await client.version()} has the snapshotter ${snapshotter}` }
  } finally {
    client.close()
  }
}

async function containerdsOwnPull (config: Config, snapshotter: string, facts: ServingFacts): Promise<string> {
  const client = new ContainerdClient({ address: config.containerdAddress, namespace: 'default' })
  try {
    return await transfer(await client.version(), await client.pid(), snapshotter, facts)
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
