// `publish SOURCE`: an image as a CAR, in a file (--car), in the RPC of a Kubo (--to), pinned at services (--pin). The result goes to
// stdout when all of it is done, progress to stderr.
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { CHUNK_BYTES_MAX, PUBLISH_CHUNK_BYTES, PUBLISH_CHUNK_BYTES_MIN } from '../base/limits.ts'
import type { Report } from '../base/report.ts'
import { parseSize } from '../config/units.ts'
import { loadConfig } from '../config/load.ts'
import { parsePlatform, type Platform } from '../oci/platform.ts'
import type { PinnedRoot } from '../pinning/pin-roots.ts'
import type { ImageSource } from '../publish/image-source.ts'
import { readPrefetchList } from '../publish/prefetch-list.ts'
import { publish, type Published } from '../publish/publish.ts'
import { type DeliveryFlags, openDelivery, withDelivery } from './deliver.ts'
import { interruptible } from './ending.ts'
import { progressFor, type ProgressFlags, withProgress } from './progress.ts'
import { gatewaysOf, lookVia, viaFailure, type ViaFlags, viaText, withVia } from './verify-via.ts'

interface Flags extends ProgressFlags, DeliveryFlags, ViaFlags {
  readonly format: 'estargz' | 'keep'
  readonly car?: string
  readonly platform: readonly Platform[]
  readonly allPlatforms?: true
  readonly containerd?: string
  readonly prefetchList?: string
  readonly chunkSize: number
  readonly chunker?: keyof typeof CHUNKERS
  readonly json?: boolean
}

/** The JSON of `publish --json`. */
interface Delivered extends Omit<Published, 'car' | 'pins'> {
  /** The file that stays. */
  readonly car: string | null
  /** The RPC that pinned all roots. */
  readonly to: string | null
  readonly pins: readonly PinnedRoot[]
}

/** As `ipfs add` spells them. */
const CHUNKERS = { 'size-1048576': 1_048_576, 'size-262144': 262_144 } as const
/** Small blocks where layers are read here and there (docs/PERFORMANCE.md has the figures); the blocks of `ipfs add` where nothing changes. */
const DEFAULT_CHUNKER = { estargz: 'size-262144', keep: 'size-1048576' } as const
const LEVEL = 6
const MEMBERS_PER_PROCESSOR = 4 // enough that a slow member does not idle the other threads

export function publishCommand (): Command {
  return withProgress(withVia(withDelivery(new Command('publish')))
    .description('Write an image as a CAR, import and pin it where it is told, and print its CID.')
    .argument('<source>', 'OCI layout directory, OCI archive or docker archive (archives may be gzipped), or containerd://NAMESPACE/IMAGE')
    .addOption(new Option('--format <format>', 'estargz: lazy layers; keep: no byte changes')
      .choices(['estargz', 'keep']).default('estargz'))
    .option('--car <file>', 'the CAR file to write; not needed with --to')
    .option('--platform <os/arch>', 'which images of several, as a list or repeated (default: the only one, else that of this machine)', platforms, [])
    .addOption(new Option('--all-platforms', 'all images of the source').conflicts('platform'))
    .option('--containerd <socket>', 'of the containerd that containerd:// means (default: that of the config file)')
    .option('--prefetch-list <file>', 'paths that the workload reads first, one a line')
    .option('--chunk-size <size>', 'bytes of a file that are fetched and checked together', chunkSize, PUBLISH_CHUNK_BYTES)
    .addOption(new Option('--chunker <chunker>', 'size of IPFS blocks, part of the CID: ipfs add makes the same CIDs only with the same --chunker ' +
      '(default: size-262144 for estargz, so that a node fetches less that it does not read; size-1048576 for keep)')
      .choices(Object.keys(CHUNKERS)))
    .option('--json', 'print one JSON object'))
    .action(async (source: string, flags: Flags, command: Command) => {
      if (flags.car === undefined && flags.to === undefined) command.error('error: name --car <file> or --to <url>, or both')
      if (flags.to === undefined && flags.toTokenFile !== undefined) command.error('error: --to-token-file is for --to <url>')
      if (flags.verifyAll === true && flags.verifyVia.length === 0) command.error('error: --verify-all is for --verify-via <gateway>')
      await run(source, flags)
    })
}

async function run (source: string, flags: Flags): Promise<void> {
  const progress = progressFor(flags)
  const temporary = flags.car === undefined ? mkdtempSync(join(tmpdir(), 'ipfs-snapshotter-')) : null
  const clear = (): void => { if (temporary !== null) rmSync(temporary, { recursive: true, force: true }) }
  process.once('exit', clear) // a second signal ends us at once
  let goOn = `${flags.car ?? 'a CAR'} was not written and no other file is left, the same command starts over`
  try {
    const gateways = gatewaysOf(flags)
    const { packed, pins } = await interruptible(() => goOn, async (signal) => {
      const delivery = await openDelivery(flags, progress.report, signal)
      try {
        const packed = await pack(source, flags.car ?? join(temporary ?? '', 'image.car'), flags, progress.report, signal)
        const kept = flags.car === undefined ? '' : `${flags.car} is whole, `
        goOn = `${kept}what was uploaded and asked for so far may stay; the same command makes the same CIDs and goes on`
        return { packed, pins: await delivery.deliver(packed, flags.pinName ?? basename(source)) }
      } finally {
        await delivery.close()
      }
    })
    const views = await lookVia(gateways, packed, flags, progress.report)
    const published: Delivered = { ...packed, car: flags.car ?? null, to: flags.to ?? null, pins }
    progress.finish()
    const result = { ...published, ...views.length === 0 ? {} : { verifyVia: views } }
    process.stdout.write(flags.json === true ? `${JSON.stringify(result)}\n` : `${humanText(published)}${viaText(views)}`)
    const failure = viaFailure(packed, views)
    if (failure !== null) throw failure
  } finally {
    progress.finish()
    process.off('exit', clear)
    clear()
  }
}

async function pack (source: string, car: string, flags: Flags, report: Report, signal: AbortSignal): Promise<Published> {
  const wanted = flags.prefetchList === undefined ? [] : await readPrefetchList(flags.prefetchList)
  return await publish({
    source: await sourceOf(source, flags, signal),
    car,
    format: flags.format,
    platforms: flags.allPlatforms === true ? 'all' : flags.platform,
    wanted,
    chunkBytes: flags.chunkSize,
    leafBytes: CHUNKERS[flags.chunker ?? DEFAULT_CHUNKER[flags.format]],
    level: LEVEL,
    concurrency: availableParallelism() * MEMBERS_PER_PROCESSOR,
    report,
    signal
  })
}

/** What is no path is open when it comes back; containerd's API is loaded for those who need it. */
async function sourceOf (text: string, flags: Flags, signal: AbortSignal): Promise<string | ImageSource> {
  if (!text.startsWith('containerd://')) return text
  const { openContainerdImage } = await import('../daemon/containerd-image.ts')
  return await openContainerdImage(text, flags.containerd ?? loadConfig(flags.config).containerdAddress, signal)
}

/** A list as docker and nerdctl take it. */
function platforms (text: string, before: readonly Platform[]): Platform[] {
  return [...before, ...text.split(',').map((one) => parsePlatform(one.trim()))]
}

function chunkSize (text: string): number {
  const size = /^\d+$/.test(text) ? Number(text) : sizeWithUnit(text)
  if (!(size >= PUBLISH_CHUNK_BYTES_MIN && size <= CHUNK_BYTES_MAX)) {
    throw new InvalidArgumentError(`A size from ${PUBLISH_CHUNK_BYTES_MIN} to ${CHUNK_BYTES_MAX} bytes is needed, like 256KiB.`)
  }
  return size
}

function sizeWithUnit (text: string): number {
  try {
    return parseSize(text)
  } catch {
    return Number.NaN
  }
}

function humanText ({ reference, references, images, car, to, pins }: Delivered): string {
  const layers = [...new Map(images.flatMap(({ layers }) => layers).map((layer) => [layer.digest, layer])).values()]
  const bytes = layers.reduce((sum, { size }) => sum + size, 0)
  const lazy = layers.filter((layer) => layer.lazy).length
  return [
    reference,
    '',
    `  platform  ${images.map(({ platform }) => platform).join(', ')}`,
    `  layers    ${layers.length} (${lazy} lazy), ${(bytes / 1e6).toFixed(1)} MB`,
    ...car === null ? [] : [`  car       ${car}`],
    ...to === null ? [] : [`  pinned    ${to}`],
    ...[...new Set(pins.map(({ service }) => service))].map((service) => `  pinned    ${service}`),
    `  nerdctl   ${references.nerdctl}`,
    `  ctr, CRI  ${references.ctr}`,
    ''
  ].join('\n')
}
