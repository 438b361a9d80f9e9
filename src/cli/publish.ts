// `publish SOURCE --car FILE`: an image from disk as a CAR that any pinning service takes. The result goes to stdout,
// progress to stderr.
import { availableParallelism } from 'node:os'
import { Command, InvalidArgumentError, Option } from 'commander'
import { CHUNK_BYTES_MAX, PUBLISH_CHUNK_BYTES, PUBLISH_CHUNK_BYTES_MIN } from '../base/limits.ts'
import { parseSize } from '../config/units.ts'
import { loadConfig } from '../config/load.ts'
import { parsePlatform, type Platform } from '../oci/platform.ts'
import type { ImageSource } from '../publish/image-source.ts'
import { readPrefetchList } from '../publish/prefetch-list.ts'
import { publish, type Published } from '../publish/publish.ts'
import { interruptible } from './ending.ts'
import { progressFor, type ProgressFlags, withProgress } from './progress.ts'
import { gatewaysOf, lookVia, viaFailure, type ViaFlags, viaText, withVia } from './verify-via.ts'

interface Flags extends ProgressFlags, ViaFlags {
  readonly format: 'estargz' | 'keep'
  readonly car: string
  readonly platform: readonly Platform[]
  readonly allPlatforms?: true
  readonly containerd?: string
  readonly prefetchList?: string
  readonly chunkSize: number
  readonly chunker?: keyof typeof CHUNKERS
  readonly json?: boolean
}

/** As `ipfs add` spells them. */
const CHUNKERS = { 'size-1048576': 1_048_576, 'size-262144': 262_144 } as const
/** Small blocks where layers are read here and there (docs/PERFORMANCE.md has the figures); the blocks of `ipfs add` where nothing changes. */
const DEFAULT_CHUNKER = { estargz: 'size-262144', keep: 'size-1048576' } as const
const LEVEL = 6
const MEMBERS_PER_PROCESSOR = 4 // enough that a slow member does not idle the other threads

export function publishCommand (): Command {
  return withProgress(withVia(new Command('publish'))
    .description('Write an image as a CAR file, ready to be pinned, and print its CID.')
    .argument('<source>', 'OCI layout directory, OCI archive or docker archive (archives may be gzipped), or containerd://NAMESPACE/IMAGE')
    .addOption(new Option('--format <format>', 'estargz: lazy layers; keep: no byte changes')
      .choices(['estargz', 'keep']).default('estargz'))
    .requiredOption('--car <file>', 'the CAR file to write')
    .option('--platform <os/arch>', 'which images of several, as a list or repeated (default: the only one, else that of this machine)', platforms, [])
    .addOption(new Option('--all-platforms', 'all images of the source').conflicts('platform'))
    .option('--containerd <socket>', 'of the containerd that containerd:// means (default: that of the config file)')
    .option('--prefetch-list <file>', 'paths that the workload reads first, one a line')
    .option('--chunk-size <size>', 'bytes of a file that are fetched and checked together', chunkSize, PUBLISH_CHUNK_BYTES)
    .addOption(new Option('--chunker <chunker>', 'size of IPFS blocks, part of the CID: ipfs add makes the same CIDs only with the same --chunker ' +
      '(default: size-262144 for estargz, so that a node fetches less that it does not read; size-1048576 for keep)')
      .choices(Object.keys(CHUNKERS)))
    .option('--json', 'print one JSON object')
    .option('--config <file>', 'settings (TOML): where containerd is, tokens of gateways'))
    .action(async (source: string, flags: Flags, command: Command) => {
      if (flags.verifyAll === true && flags.verifyVia.length === 0) command.error('error: --verify-all is for --verify-via <gateway>')
      await run(source, flags)
    })
}

async function run (source: string, flags: Flags): Promise<void> {
  const progress = progressFor(flags)
  try {
    const gateways = gatewaysOf(flags)
    const goOn = `${flags.car} was not written and no other file is left, the same command starts over`
    const published = await interruptible(goOn, async (signal) => await publish({
      source: await sourceOf(source, flags, signal),
      car: flags.car,
      format: flags.format,
      platforms: flags.allPlatforms === true ? 'all' : flags.platform,
      wanted: flags.prefetchList === undefined ? [] : await readPrefetchList(flags.prefetchList),
      chunkBytes: flags.chunkSize,
      leafBytes: CHUNKERS[flags.chunker ?? DEFAULT_CHUNKER[flags.format]],
      level: LEVEL,
      concurrency: availableParallelism() * MEMBERS_PER_PROCESSOR,
      report: progress.report,
      signal
    }))
    const views = await lookVia(gateways, published, flags, progress.report)
    progress.finish()
    const result = { ...published, ...views.length === 0 ? {} : { verifyVia: views } }
    process.stdout.write(flags.json === true ? `${JSON.stringify(result)}\n` : `${humanText(published)}${viaText(views)}`)
    const failure = viaFailure(published, views)
    if (failure !== null) throw failure
  } finally {
    progress.finish()
  }
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

function humanText ({ reference, references, images, car }: Published): string {
  const layers = [...new Map(images.flatMap(({ layers }) => layers).map((layer) => [layer.digest, layer])).values()]
  const bytes = layers.reduce((sum, { size }) => sum + size, 0)
  const lazy = layers.filter((layer) => layer.lazy).length
  return [
    reference,
    '',
    `  platform  ${images.map(({ platform }) => platform).join(', ')}`,
    `  layers    ${layers.length} (${lazy} lazy), ${(bytes / 1e6).toFixed(1)} MB`,
    `  car       ${car}`,
    `  nerdctl   ${references.nerdctl}`,
    `  ctr, CRI  ${references.ctr}`,
    ''
  ].join('\n')
}
