// What inspect and verify share: their options, and the sources an image is read from: CAR files first, then the gateway that
// the reference itself names, then --gateway or the configured sources in order.
import { Command } from 'commander'
import { SnapshotterError } from '../base/errors.ts'
import { GATEWAY_TIMEOUT_MS } from '../base/limits.ts'
import { createLog } from '../base/log.ts'
import { type Config, loadConfig, overrideSources } from '../config/load.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import { createBlockService } from '../ipfs/block-service.ts'
import { parseReference, type Reference } from '../oci/reference.ts'

export interface ImageFlags {
  readonly config?: string | undefined
  readonly gateway: string[]
  readonly car: string[]
  readonly platform?: string | undefined
  readonly json?: true | undefined
}

export interface ImageInput {
  readonly reference: Reference
  readonly blocks: BlockService
  /** Fires at SIGINT and SIGTERM. */
  readonly signal: AbortSignal
}

type Sources = Config['sources']

const repeated = (value: string, all: string[]): string[] => [...all, value]

export function imageCommand (name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .argument('<reference>', 'ipfs://CID[@sha256:…], https://GATEWAY/ipfs/CID, …')
    .option('--config <file>', 'settings (TOML)')
    .option('--gateway <url>', 'trustless gateway, instead of the configured sources (repeats)', repeated, [])
    .option('--car <file>', 'CAR file to read, instead of the configured sources (repeats)', repeated, [])
    .option('--platform <platform>', 'os/architecture[/variant] (default: linux on this machine)')
    .option('--json', 'print one JSON object')
}

/** Opens the sources for `work` and closes them after it. @throws REF_INVALID, CONFIG_INVALID, and what `work` throws. */
export async function withImage<Result> (text: string, flags: ImageFlags, work: (input: ImageInput) => Promise<Result>): Promise<Result> {
  const reference = parseReference(text)
  const { sources } = overrideSources(loadConfig(flags.config), flags.gateway, flags.car)
  const blocks = createBlockService({ sources: withNamedGateway(sources, reference.gateway), log: createLog('error') })
  const stop = new AbortController()
  const onSignal = (): void => stop.abort(new SnapshotterError('CANCELLED', 'stopped by a signal'))
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
  try {
    return await work({ reference, blocks, signal: stop.signal })
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
    await blocks.close()
  }
}

/** A configured source of the same origin keeps its token, CA and timeout, and moves to the front. */
export function withNamedGateway (sources: Sources, gateway: string | null): Sources {
  const cars = sources.filter(({ type }) => type === 'car')
  const others = sources.filter(({ type }) => type !== 'car')
  if (gateway === null) {
    if (sources.length > 0) return sources
    throw new SnapshotterError('CONFIG_INVALID',
      'there is no source to fetch from; add --gateway URL, --car FILE or a [[source]] to the config file')
  }
  const isNamed = (source: Sources[number]): boolean => source.type === 'gateway' && new URL(source.url).origin === gateway
  const named = others.find(isNamed) ?? { type: 'gateway' as const, url: gateway, timeoutMs: GATEWAY_TIMEOUT_MS }
  return [...cars, named, ...others.filter((source) => source !== named)]
}
