// What `publish` does with a CAR beside leaving it on the disk: into the RPC of a Kubo, and pinned at services. All that can be wrong
// with addresses and tokens is found before the image is packed; nothing is announced before the last one has said `pinned`.
import type { Command } from 'commander'
import { CID } from 'multiformats/cid'
import { asSnapshotterError, SnapshotterError } from '../base/errors.ts'
import { PIN_DEADLINE_MS } from '../base/limits.ts'
import type { Report } from '../base/report.ts'
import { type Config, loadConfig, type PinningSettings } from '../config/load.ts'
import { readTokenFile } from '../config/token-file.ts'
import { endpoint, rpcEndpoint } from '../pinning/endpoint.ts'
import { KuboClient } from '../pinning/kubo-client.ts'
import { peersBy } from '../pinning/peers.ts'
import { pinRoots, type PinnedRoot } from '../pinning/pin-roots.ts'
import { checkTarget, pushCar } from '../pinning/push.ts'
import { PinningService } from '../pinning/service.ts'
import type { Published } from '../publish/publish.ts'
import { duration, repeated } from './flag-values.ts'

export interface DeliveryFlags {
  readonly to?: string
  readonly toTokenFile?: string
  readonly pin: readonly string[]
  readonly pinName?: string
  readonly pinTimeout: number
  readonly config?: string
}

export interface Delivery {
  /** The CAR of `published` goes where the flags say. @throws PIN_REFUSED, PIN_FAILED, PIN_UNREACHABLE, PIN_TIMEOUT; the signal's reason */
  readonly deliver: (published: Pick<Published, 'cid' | 'nerdctlCid' | 'car'>, name: string) => Promise<PinnedRoot[]>
  readonly close: () => Promise<void>
}

/** Adds the options to `publish`. */
export function withDelivery (command: Command): Command {
  return command
    .option('--to <url>', 'import the CAR into the RPC of a Kubo, or of this daemon, and pin its roots there: http://127.0.0.1:5001')
    .option('--to-token-file <file>', 'token of that RPC: TOKEN, "Bearer TOKEN", "Basic USER:PASSWORD" or "Name: value"')
    .option('--pin <name>', 'pin at this service of the configuration ([[pinning]]) and wait until it is (repeats)', repeated, [])
    .option('--pin-name <text>', 'what the services call the pin (default: the name of the source)')
    .option('--pin-timeout <duration>', 'for services to fetch and pin the image, like 30m',
      duration('A duration like 90s, 30m or 2h is needed.'), PIN_DEADLINE_MS)
    .option('--config <file>', 'settings (TOML): pinning services, tokens of gateways, where containerd is')
}

/** @throws CONFIG_INVALID; PIN_REFUSED, PIN_FAILED, PIN_UNREACHABLE when the target of --to takes nothing, or a service does not know us */
export async function openDelivery (flags: DeliveryFlags, report: Report, signal: AbortSignal): Promise<Delivery> {
  const { toTokenFile, to, pin } = flags
  const services = pin.length === 0 ? [] : openServices(loadConfig(flags.config), pin, signal)
  const secret = toTokenFile === undefined ? null : readTokenFile(toTokenFile)
  const kubo = to === undefined ? null : new KuboClient(rpcEndpoint(to, secret))
  const close = async (): Promise<void> => { await kubo?.close() }
  try {
    if (kubo !== null) await checkTarget(kubo, signal)
    for (const service of services) await service.check()
  } catch (error) {
    await close()
    throw error
  }
  const deliver: Delivery['deliver'] = async ({ cid, nerdctlCid, car }, name) => {
    const roots = [{ cid: CID.parse(cid), name }, ...nerdctlCid === null ? [] : [{ cid: CID.parse(nerdctlCid), name: `${name} (nerdctl)` }]]
    if (kubo !== null) await pushCar(kubo, { car, roots: roots.map((root) => root.cid), report, signal })
    if (services.length === 0) return []
    const peers = kubo === null ? null : await peersBy(kubo, report, signal)
    const outcomes = await Promise.allSettled(services.map(async (service) =>
      await pinRoots(service, { roots, peers, deadlineMs: flags.pinTimeout, report, signal })))
    const [failure, ...others] = outcomes.flatMap((outcome) => outcome.status === 'rejected' ? [asSnapshotterError(outcome.reason)] : [])
    signal.throwIfAborted()
    if (failure !== undefined) throw new SnapshotterError(failure.code, [failure.message, ...others.map(({ line }) => line)].join('; '), {}, { cause: failure })
    return outcomes.flatMap((outcome) => outcome.status === 'fulfilled' ? outcome.value : [])
  }
  return { deliver, close }
}

/** Those of the configuration that `names` lists, or all. @throws CONFIG_INVALID */
export function openServices ({ pinning }: Config, names: readonly string[], signal?: AbortSignal): PinningService[] {
  const known = pinning.map(({ name }) => name)
  const chosen = names.length === 0 ? pinning : [...new Set(names)].map((name) => {
    const found = pinning.find((one) => one.name === name)
    if (found !== undefined) return found
    const there = known.length === 0 ? 'the configuration has none' : `it has ${known.join(', ')}`
    throw new SnapshotterError('CONFIG_INVALID', `no pinning service is called ${JSON.stringify(name.slice(0, 64))}; ${there} ([[pinning]])`)
  })
  if (chosen.length === 0) throw new SnapshotterError('CONFIG_INVALID', 'the configuration has no pinning service ([[pinning]] name, endpoint, token_file)')
  return chosen.map((settings) => opened(settings, signal))
}

function opened ({ name, endpoint: url, tokenFile }: PinningSettings, signal?: AbortSignal): PinningService {
  return new PinningService(name, endpoint(`the endpoint of pinning service ${name},`, url, readTokenFile(tokenFile)), signal)
}
