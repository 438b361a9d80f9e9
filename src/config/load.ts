// Loads the settings: --config FILE, else IPFS_SNAPSHOTTER_CONFIG, else /etc/ipfs-snapshotter/config.toml if it is
// there, else defaults. Secrets are read from the files that the config names and never printed.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse as parseToml, TomlError } from 'smol-toml'
import type { z } from 'zod'
import { messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { GATEWAY_TIMEOUT_MS } from '../base/limits.ts'
import { lineOfKey } from './key-lines.ts'
import { configSchema, type ConfigFile } from './schema.ts'
import { readTokenFile } from './token-file.ts'

const DEFAULT_FILE = '/etc/ipfs-snapshotter/config.toml'

export type SourceSettings =
  | { readonly type: 'gateway', readonly url: string, readonly timeoutMs: number, readonly token?: string, readonly caPem?: string }
  | { readonly type: 'car', readonly path: string }

export interface Config {
  /** Durable: cache, state, the sealing key. */
  readonly root: string
  /** Lost at reboot: sockets, ramfs, the FUSE mount. */
  readonly state: string
  readonly grpcAddress: string
  readonly containerdAddress: string
  readonly driver: 'auto' | 'erofs' | 'erofs-loop' | 'fuse'
  readonly cacheMaxBytes: number
  readonly cacheKey: 'disk' | 'boot'
  readonly readDeadlineMs: number
  readonly onFailure: 'eio' | 'block' | 'kill'
  readonly onViolation: 'eio' | 'kill'
  /** At which what nobody asked for is fetched; null: it is not. */
  readonly backgroundBytesPerSecond: number | null
  /** Whether a lazily opened layer is proven behind its mounts or before its chain ID is answered for. */
  readonly prove: 'background' | 'before-commit'
  /** A background proof starts when no read waited for the network for this long. */
  readonly proveAfterMs: number
  readonly proveBytesPerSecond: number
  /** HOST:PORT on loopback, where metrics and health are offered; null: nowhere. */
  readonly httpAddress: string | null
  /** HOST:PORT on loopback, where images are offered as a registry; null: nowhere. */
  readonly registryAddress: string | null
  /** Where Kubo's RPC is spoken, for clients that know nothing else; null: nowhere. */
  readonly ipfsApi: IpfsApiSettings | null
  /** Of the blocks that clients gave to this node, on the disk. */
  readonly storeMaxBytes: number
  /** HOST:PORT where those blocks are offered to other machines; null: nowhere. */
  readonly gatewayAddress: string | null
  readonly sources: readonly SourceSettings[]
  readonly pinning: readonly PinningSettings[]
}

/** A pinning service. Its token is read when it is used: the daemon needs none. */
export interface PinningSettings {
  readonly name: string
  readonly endpoint: string
  readonly tokenFile: string
}

export interface IpfsApiSettings {
  /** HOST:PORT on loopback. */
  readonly address: string
  /** Where clients look for the file `api`: their IPFS_PATH. */
  readonly folder: string
  /** Of containerd, in which its clients pull by that API. */
  readonly namespace: string
}

/** @throws CONFIG_INVALID naming the file, and the line of every wrong key. */
export function loadConfig (file: string | undefined, environment: NodeJS.ProcessEnv = process.env): Config {
  const chosen = file ?? environment['IPFS_SNAPSHOTTER_CONFIG'] ?? (existsSync(DEFAULT_FILE) ? DEFAULT_FILE : undefined)
  return settle(chosen === undefined ? configSchema.parse({}) : readConfigFile(chosen))
}

/** `--gateway URL` takes the place of the configured sources, `--car FILE` likewise. */
export function overrideSources (config: Config, gateways: readonly string[] = [], cars: readonly string[] = []): Config {
  if (gateways.length === 0 && cars.length === 0) return config
  const named = gateways.map((url) => gatewayAt(url, '--gateway'))
  return { ...config, sources: [...cars.map((path) => ({ type: 'car' as const, path })), ...named] }
}

/** A gateway that an option names. @throws CONFIG_INVALID */
export function gatewayAt (url: string, option: string): Extract<SourceSettings, { readonly type: 'gateway' }> {
  const isUrl = /^https?:\/\/[^/]/.test(url) && URL.canParse(url)
  if (!isUrl) throw new SnapshotterError('CONFIG_INVALID', `${option} ${JSON.stringify(url)} is no http(s) URL`)
  return { type: 'gateway', url, timeoutMs: GATEWAY_TIMEOUT_MS }
}

function readConfigFile (file: string): ConfigFile {
  const text = readNamed(file, 'config file')
  let table: unknown
  try {
    table = parseToml(text)
  } catch (cause) {
    // The first line says it; the rest draws the place over several lines.
    const [what = ''] = messageOf(cause).split('\n')
    const line = cause instanceof TomlError ? `:${cause.line}` : ''
    throw new SnapshotterError('CONFIG_INVALID', `${file}${line}: ${what}`, {}, { cause })
  }
  const parsed = configSchema.safeParse(table)
  if (!parsed.success) {
    throw new SnapshotterError('CONFIG_INVALID', parsed.error.issues.flatMap((issue) => complaints(issue, file, text)).join('; '))
  }
  return parsed.data
}

/** One a wrong key: `FILE:LINE: key.path: what is wrong`. */
function complaints (issue: z.core.$ZodIssue, file: string, text: string): string[] {
  const at = (path: readonly PropertyKey[], what: string): string => {
    const keys = path.map((part) => typeof part === 'number' ? part : String(part))
    const line = lineOfKey(text, keys)
    return `${file}${line === null ? '' : `:${line}`}: ${keys.join('.')}: ${what}`
  }
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => at([...issue.path, key], 'unknown key'))
  return [at(issue.path, issue.message.charAt(0).toLowerCase() + issue.message.slice(1))]
}

function settle (file: ConfigFile): Config {
  return {
    root: file.root,
    state: file.state,
    grpcAddress: file.grpc.address ?? join(file.state, 'snapshotter.sock'),
    containerdAddress: file.containerd.address,
    driver: file.mount.driver,
    cacheMaxBytes: file.cache.max_size,
    cacheKey: file.cache.key,
    readDeadlineMs: file.read.deadline,
    onFailure: file.read.on_failure,
    onViolation: file.read.on_violation,
    backgroundBytesPerSecond: file.fetch.background === 'on' ? file.fetch.background_rate : null,
    prove: file.trust.prove,
    proveAfterMs: file.trust.prove_after,
    proveBytesPerSecond: file.trust.prove_rate,
    httpAddress: file.http.address ?? null,
    registryAddress: file.registry.address ?? null,
    ipfsApi: file.ipfs_api.address === undefined
      ? null
      : { address: file.ipfs_api.address, folder: file.ipfs_api.folder ?? join(file.state, 'ipfs'), namespace: file.ipfs_api.namespace },
    storeMaxBytes: file.store.max_size,
    gatewayAddress: file.gateway.address ?? null,
    sources: file.source.map((source) => source.type === 'car'
      ? source
      : {
          type: source.type,
          url: source.url,
          timeoutMs: source.timeout,
          ...(source.token_file === undefined ? {} : { token: readTokenFile(source.token_file) }),
          ...(source.ca_file === undefined ? {} : { caPem: readNamed(source.ca_file, 'CA file') })
        }),
    pinning: file.pinning.map(({ name, endpoint, token_file: tokenFile }) => ({ name, endpoint, tokenFile }))
  }
}

function readNamed (file: string, what: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new SnapshotterError('CONFIG_INVALID', `${what} ${file} cannot be read (${systemCode(cause) ?? messageOf(cause)})`, {}, { cause })
  }
}
