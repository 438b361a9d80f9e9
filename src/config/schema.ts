// The config file's shape (design §5): strict, so a misspelled key is an error that names its place.
import { isAbsolute } from 'node:path'
import { z } from 'zod'
import { messageOf } from '../base/errors.ts'
import { BACKGROUND_BYTES_PER_SECOND, GATEWAY_TIMEOUT_MS, PROOF_AFTER_MS, PROOF_BYTES_PER_SECOND, READ_DEADLINE_MS, STORE_BYTES_MAX } from '../base/limits.ts'
import { parseDuration, parseRate, parseSize } from './units.ts'

// What `.describe()` says becomes docs/CONFIG.md: `npm run docs`. `title` names the type there.
const path = z.string().refine(isAbsolute, 'must be an absolute path').meta({ title: 'path' })
const duration = z.string().transform((text, context) => converted(() => parseDuration(text), context)).meta({ title: 'duration' })
const size = z.string().transform((text, context) => converted(() => parseSize(text), context)).meta({ title: 'size' })
const rate = z.string().transform((text, context) => converted(() => parseRate(text), context))
  .refine((bytes) => bytes > 0, 'must be more than nothing').meta({ title: 'rate' })

/** Metrics name images and gateways, and images may be private: nobody but this machine may ask. */
const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|\[::1\]|localhost):(\d{1,5})$/

const ANYWHERE = /^(?:\[[0-9a-fA-F:.]+\]|[^\s:[\]/]+):(\d{1,5})$/

const listen = z.string()
  .refine((text) => Number(LOOPBACK.exec(text)?.[1] ?? Infinity) <= 65_535, 'must be a loopback address with a port, like "127.0.0.1:9437"')
  .meta({ title: 'loopback address with port' })

/** A gateway is for other machines, and what it offers is public. */
const listenAnywhere = z.string()
  .refine((text) => Number(ANYWHERE.exec(text)?.[1] ?? Infinity) <= 65_535, 'must be an address with a port, like "0.0.0.0:8080"')
  .meta({ title: 'address with port' })

const source = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('gateway'),
    url: z.url({ protocol: /^https?$/ }).meta({ title: 'URL', description: 'a trustless gateway: it is asked for blocks and CARs, never for files' }),
    timeout: duration.default(GATEWAY_TIMEOUT_MS).describe('how long it may be silent, before its answer and within it'),
    token_file: path.optional()
      .describe('what is in the file goes to this origin as a bearer token, and nowhere else; a file that everybody may read is refused'),
    ca_file: path.optional().describe('PEM of the authorities that this origin’s certificate may come from, in place of the system’s')
  }),
  z.strictObject({ type: z.literal('car'), path: path.describe('a CAR file, read where it is') })
])

const pinning = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9][\w.-]{0,63}$/, 'must be a short name of letters, digits, ".", "_" and "-"')
    .describe('what `--pin` and `--service` call it'),
  endpoint: z.url({ protocol: /^https?$/ }).meta({ title: 'URL', description: 'of its API, the part before `/pins`' }),
  token_file: path.describe('its access token, in a file that not everybody may read; sent to this origin only')
})

export const configSchema = z.strictObject({
  root: path.default('/var/lib/ipfs-snapshotter').describe('durable: cache, snapshots, blocks that clients gave. One daemon at a time'),
  state: path.default('/run/ipfs-snapshotter').describe('lost at a reboot: sockets, ramfs, the FUSE mount'),
  grpc: z.strictObject({
    address: path.optional().describe('the socket that containerd’s `proxy_plugins` names; without it `<state>/snapshotter.sock`')
  }).prefault({}),
  containerd: z.strictObject({
    address: path.default('/run/containerd/containerd.sock').describe('containerd’s socket, for `pull` and for stopping containers')
  }).prefault({}),
  mount: z.strictObject({
    driver: z.enum(['auto', 'erofs', 'erofs-loop', 'fuse']).default('auto').describe('`erofs` needs Linux 6.12, `erofs-loop` 5.16; `fuse` runs on any, ' +
      'x64 only (slower, times in ms, UTF-8 names, ACLs not enforced). `auto` takes the first that passes a real mount')
  }).prefault({}),
  cache: z.strictObject({
    max_size: size.default(20 * 2 ** 30).describe('room is made before bytes are written: data of unmounted layers goes first, then what was used longest ago'),
    key: z.enum(['disk', 'boot']).default('disk')
      .describe('`disk`: the sealing key stays beside the cache; `boot`: in memory only, after a reboot everything is fetched again')
  }).prefault({}),
  read: z.strictObject({
    deadline: duration.default(READ_DEADLINE_MS)
      .describe('a read that waits longer for the network fails by `on_failure`; sources that fail are tried again until then'),
    on_failure: z.enum(['eio', 'block', 'kill']).default('eio')
      .describe('`eio`: the read fails with EIO; `block`: it waits for ever; `kill`: the containers whose read failed are stopped'),
    on_violation: z.enum(['eio', 'kill']).default('kill')
      .describe('a layer that lies, or bytes that match from no source: `kill` stops the containers on it, `eio` fails their reads only')
  }).prefault({}),
  fetch: z.strictObject({
    background: z.enum(['on', 'off']).default('on').describe('completes mounted layers behind the workload, never while it reads'),
    background_rate: rate.default(BACKGROUND_BYTES_PER_SECOND).describe('bytes a second that this takes')
  }).prefault({}),
  trust: z.strictObject({
    prove: z.enum(['background', 'before-commit']).default('background').describe('a lazily mounted layer is read whole and proven (layer digest, diffID, ' +
      'TOC ≡ tar): behind the workload, or before containerd may use it'),
    prove_after: duration.default(PROOF_AFTER_MS).describe('quiet time before a proof in the background starts'),
    prove_rate: size.refine((bytes) => bytes > 0, 'must be more than nothing').default(PROOF_BYTES_PER_SECOND)
      .describe('bytes a second that such a proof takes')
  }).prefault({}),
  http: z.strictObject({
    address: listen.optional().describe('offers the status page, `/status.json`, `/metrics`, `/healthz` and `/readyz` to this machine; without it nowhere')
  }).prefault({}),
  registry: z.strictObject({
    address: listen.optional().describe('offers images on IPFS as a registry to this machine; without it nowhere')
  }).prefault({}),
  ipfs_api: z.strictObject({
    address: listen.optional().describe('speaks the RPC of Kubo to this machine: read, add, import, pin; without it nowhere'),
    folder: path.optional().describe('where the file `api` is written, for clients’ IPFS_PATH; without it `<state>/ipfs`'),
    namespace: z.string().regex(/^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/, 'must be a namespace of containerd, like "default"').default('default')
      .describe('in which namespace of containerd clients of that RPC pull')
  }).prefault({}),
  store: z.strictObject({
    max_size: size.default(STORE_BYTES_MAX).describe('of the blocks that clients gave, in `<root>/blocks`; an upload that does not fit is refused whole')
  }).prefault({}),
  gateway: z.strictObject({
    address: listenAnywhere.optional()
      .describe('offers those blocks to other machines, who need not trust it. Nothing else is offered there; without it nowhere')
  }).prefault({}),
  pinning: z.array(pinning).refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'has two services of one name').default([])
    .describe('Services of the IPFS Pinning Service API, for `publish --pin` and `pin`. The daemon has nothing to do with them.'),
  source: z.array(source).default([]).describe('Where blocks come from, in this order. Nobody in the list is trusted.')
})

export type ConfigFile = z.infer<typeof configSchema>

function converted (convert: () => number, context: z.core.$RefinementCtx<string>): number {
  try {
    return convert()
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) })
    return z.NEVER
  }
}
