// Publishing an image against compressing the same tars with `gzip -6`: the whole command with its proof, start to CAR on
// disk. Two baselines: gzip on one tar after the other, and one gzip per core. Random order, medians over runs.
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, readFile, rm, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { COMMAND } from '../demo/product.ts'
import { seededRandom, shuffled, type Spread, spread } from '../statistics.ts'
import { type Cost, costOf } from './cost.ts'

export interface PublishRow {
  readonly image: string
  readonly what: string
  readonly seconds: Spread
  readonly cpuSeconds: Spread
  /** Largest resident set of one process. */
  readonly peakBytes: number
  /** Bytes written: the CAR, or the gzip files. */
  readonly bytes: number
  /** Median time as a share of `gzip -6` of one tar after the other, and of one gzip per core. */
  readonly ofGzip: number
  readonly ofGzipPerCore: number
}

export interface PublishBench {
  readonly images: ReadonlyArray<{ readonly name: string, readonly layout: string }>
  readonly runs: number
  readonly seed: number
  /** A folder of its own. */
  readonly scratch: string
  /** Lines of `publish` options to measure beside the two formats. */
  readonly variants?: ReadonlyArray<readonly string[]>
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

const FORMATS: ReadonlyArray<readonly string[]> = [['--format', 'estargz'], ['--format', 'keep']]
const ONE_BY_ONE = 'gzip -6, one after the other'
const PER_CORE = 'gzip -6, one per core'

export async function runPublish (options: PublishBench): Promise<PublishRow[]> {
  const random = seededRandom(options.seed)
  const rows: PublishRow[] = []
  for (const image of options.images) {
    const folder = join(options.scratch, image.name)
    await mkdir(folder, { recursive: true })
    const tars = await unpackLayers(image.layout, folder)
    const contenders = [...gzips(tars), ...[...FORMATS, ...options.variants ?? []].map((flags) => publishing(image.layout, flags, folder))]
    const costs = new Map<string, Cost[]>()
    for (let run = 0; run < options.runs; run++) {
      options.say(`publish: ${image.name}, run ${run + 1} of ${options.runs}`)
      for (const { what, command, written } of shuffled(contenders, random)) {
        if (options.signal.aborted) throw new Error('stopped')
        const cost = await costOf(command)
        costs.set(what, [...costs.get(what) ?? [], { ...cost, bytes: await sizeOf(written) }])
        await Promise.all(written.map(async (path) => { await rm(path, { force: true }) }))
      }
    }
    rows.push(...rowsOf(image.name, costs))
    await rm(folder, { recursive: true, force: true })
  }
  return rows
}

interface Contender { readonly what: string, readonly command: readonly string[], readonly written: readonly string[] }

function gzips (tars: readonly string[]): Contender[] {
  const written = tars.map((tar) => `${tar}.gz`)
  const gzip = (jobs: number): string[] => ['sh', '-c', `printf "%s\\n" "$@" | xargs -P ${jobs} -I {} sh -c 'gzip -6 < "$1" > "$1.gz"' - {}`, '-', ...tars]
  return [{ what: ONE_BY_ONE, command: gzip(1), written }, { what: PER_CORE, command: gzip(availableParallelism()), written }]
}

function publishing (layout: string, flags: readonly string[], folder: string): Contender {
  const car = join(folder, 'image.car')
  return { what: `publish ${flags.join(' ')}`, command: [COMMAND, 'publish', layout, '--car', car, ...flags, '--json'], written: [car] }
}

/** Largest first, so that the last one does not hold the other cores up. */
async function unpackLayers (layout: string, folder: string): Promise<string[]> {
  const read = async (digest: string): Promise<{ manifests?: Blob[], layers?: Blob[] }> =>
    JSON.parse(await readFile(blobPath(layout, digest), 'utf8')) as { manifests?: Blob[], layers?: Blob[] }
  const index = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')) as { manifests: Blob[] }
  const layers = await Promise.all(index.manifests.map(async ({ digest }) => (await read(digest)).layers ?? []))
  const tars: Array<{ readonly path: string, readonly size: number }> = []
  for (const [at, { digest }] of layers.flat().entries()) {
    const path = join(folder, `${at}.tar`)
    await pipeline(createReadStream(blobPath(layout, digest)), createGunzip(), createWriteStream(path))
    tars.push({ path, size: (await stat(path)).size })
  }
  return tars.sort((one, other) => other.size - one.size).map(({ path }) => path)
}

interface Blob { readonly digest: string }

function blobPath (layout: string, digest: string): string {
  return join(layout, 'blobs', ...digest.split(':'))
}

async function sizeOf (paths: readonly string[]): Promise<number> {
  let bytes = 0
  for (const path of paths) bytes += (await stat(path)).size
  return bytes
}

function rowsOf (image: string, costs: ReadonlyMap<string, readonly Cost[]>): PublishRow[] {
  const seconds = (what: string): Spread => spread((costs.get(what) ?? []).map((cost) => cost.seconds))
  return [...costs].map(([what, all]) => ({
    image,
    what,
    seconds: seconds(what),
    cpuSeconds: spread(all.map((cost) => cost.cpuSeconds)),
    peakBytes: Math.max(...all.map((cost) => cost.peakBytes)),
    bytes: all[0]?.bytes ?? 0,
    ofGzip: seconds(what).median / seconds(ONE_BY_ONE).median,
    ofGzipPerCore: seconds(what).median / seconds(PER_CORE).median
  })).sort((one, other) => one.what < other.what ? -1 : 1)
}
