// `publish --verify-via GATEWAY`: the published image as others see it. Each gateway is asked for blocks by itself; the
// result says what each has, and the command fails when an image would not start from one of them.
import type { Command } from 'commander'
import { type ErrorCode, SnapshotterError } from '../base/errors.ts'
import { OUTSIDE_DEADLINE_MS, OUTSIDE_LEAVES } from '../base/limits.ts'
import { silentLog } from '../base/log.ts'
import { gatewayAt, loadConfig, type SourceSettings } from '../config/load.ts'
import { createBlockService } from '../ipfs/block-service.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import { parseOrigin } from '../ipfs/gateway-origin.ts'
import { lookThrough, type OutsideView } from '../publish/outside-look.ts'
import { outsidePieces } from '../publish/outside-pieces.ts'
import type { Published } from '../publish/publish.ts'
import type { Report } from '../publish/report.ts'
import { interruptible } from './ending.ts'
import { duration, repeated } from './flag-values.ts'

export interface ViaFlags {
  readonly verifyVia: readonly string[]
  readonly verifyAll?: true
  /** Milliseconds. */
  readonly verifyTimeout: number
  readonly config?: string
}

/** Adds `--verify-via` and what goes with it. */
export function withVia (command: Command): Command {
  return command
    .option('--verify-via <gateway>', 'fetch the published image through this gateway, block by block; repeats. Fails when it would not start from there',
      repeated, [])
    .option('--verify-all', `with --verify-via: every block, not ${OUTSIDE_LEAVES} leaves of each layer`)
    .option('--verify-timeout <time>', 'with --verify-via: how long what is not there yet is waited for',
      duration('A time is needed, like 30s or 10m.'), OUTSIDE_DEADLINE_MS)
}

export type Gateway = Extract<SourceSettings, { readonly type: 'gateway' }>

/** Those that the flags name, with what the config file says of one of the same origin: token, certificates, patience. @throws CONFIG_INVALID */
export function gatewaysOf ({ verifyVia, config }: ViaFlags): Gateway[] {
  if (verifyVia.length === 0) return []
  const configured = loadConfig(config).sources.filter((source) => source.type === 'gateway')
  return [...new Set(verifyVia)].map((url) => {
    const named = gatewayAt(url, '--verify-via')
    const gateway = { ...named, ...configured.find((source) => new URL(source.url).origin === new URL(url).origin), url }
    parseOrigin(url, gateway.token)
    return gateway
  })
}

/** @throws Interrupted, and what is wrong with the CAR */
export async function lookVia (gateways: readonly Gateway[], published: Published, flags: ViaFlags, report: Report): Promise<OutsideView[]> {
  if (gateways.length === 0) return []
  const { car } = published
  const goOn = `all of it is published; \`ipfs-snapshotter verify ${published.reference} --gateway ${gateways[0]?.url ?? ''}\` looks again`
  return await interruptible(goOn, async (signal) => {
    const pieces = await using({ type: 'car', path: car }, async (blocks) => await outsidePieces(published, blocks, { all: flags.verifyAll === true, signal }))
    return await Promise.all(gateways.map(async (gateway) => await using(gateway, async (blocks) =>
      await lookThrough(gateway.url, blocks, pieces, { item: new URL(gateway.url).host, deadlineMs: flags.verifyTimeout, report, signal }))))
  })
}

/** A service that asks nobody else. */
async function using<Result> (source: SourceSettings, work: (blocks: BlockService) => Promise<Result>): Promise<Result> {
  const blocks = createBlockService({ sources: [source], log: silentLog })
  try {
    return await work(blocks)
  } finally {
    await blocks.close()
  }
}

/** What failed, of all gateways, in one line; null when nothing did. */
export function viaFailure ({ reference }: Published, views: readonly OutsideView[]): SnapshotterError | null {
  const failed = views.filter(({ starts }) => !starts)
  const [first] = failed.flatMap(({ missing }) => missing)
  if (failed.length === 0) return null
  const told = failed.map(({ gateway, found, blocks, ms, missing: [lost] }) =>
    `${gateway}: ${found} of ${blocks} blocks after ${ms} ms${lost === undefined ? '' : `, not ${lost.of} (${lost.why})`}`)
  const later = `ipfs-snapshotter verify ${reference} --gateway ${failed[0]?.gateway ?? ''}`
  return new SnapshotterError((first?.code ?? 'ROOT_NOT_FOUND') as ErrorCode,
    `${reference} would not start from ${told.join('; nor from ')}; look again with \`${later}\``)
}

export function viaText (views: readonly OutsideView[]): string {
  return views.map(({ gateway, starts, found, blocks, ms }) =>
    `  from      ${gateway}: ${starts ? `starts, ${blocks}` : `does not start, ${found} of ${blocks}`} blocks in ${ms} ms\n`).join('')
}
