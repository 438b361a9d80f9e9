// Cold start: from `pull` to the container's first line, for every image, link and contender; runs of one image and link
// in random order. Tells how each did as a share of containerd's full pull of the same image over the same line.
import { Cleanup } from '../demo/cleanup.ts'
import { RECIPES } from '../images/catalogue.ts'
import { storedImage, type StoredImage } from '../images/image-store.ts'
import { startPacingProxy } from '../pacing-proxy.ts'
import type { BenchContext, Part } from '../part.ts'
import { seededRandom, shuffled } from '../statistics.ts'
import type { Contender, Source } from './contender.ts'
import { fullPull, UNPACKED } from './full-pull.ts'
import { type Link, LINKS } from './links.ts'
import { type Line, type Measurement, measureRun, type Taking } from './measure.ts'
import { nerdctlKubo, nerdctlPull } from './nerdctl.ts'
import { ours } from './ours.ts'
import { type Cell, cellsOf, resultOf } from './report.ts'
import { stargz } from './stargz.ts'

const CONTENDERS: readonly Contender[] = [
  ours('ours-list', 'this project, eStargz with a prefetch list of one run', true, (image) => ['--prefetch-list', image.prefetchList]),
  ours('ours', 'this project, eStargz without a list', true, () => []),
  ours('ours-keep', 'this project, plain gzip image unchanged: pulled whole, as any plain layer', false, () => ['--format', 'keep']),
  fullPull,
  nerdctlPull,
  stargz('stargz-list', 'stargz-snapshotter, its own converter with the same list, its defaults, same registry', true),
  stargz('stargz', 'stargz-snapshotter, its own converter without a list, its defaults, same registry', false),
  nerdctlKubo
]

export const part: Part = {
  name: 'cold',
  run: async (context) => {
    const images = chosen('image', RECIPES, context.images)
    const links = chosen('link', LINKS, context.links)
    const { present, absent } = await contenders(context)
    const random = seededRandom(context.seed)
    const cells: Cell[] = []
    const stored: StoredImage[] = []
    const unbuilt: Array<{ name: string, why: string }> = []
    for (const recipe of images) {
      if (stopped(context)) break
      try {
        const image = await storedImage(context.cache, recipe, context.say)
        stored.push(image)
        cells.push(...await measureImage(image, links, present, random, context))
      } catch (error) {
        if (stopped(context)) break
        context.say(`  ${recipe.name} FAILED: ${firstLineOf(error)}`)
        unbuilt.push({ name: recipe.name, why: firstLineOf(error) })
      }
    }
    return resultOf(cells, { images: stored, links, contenders: present, absent: [...absent, ...unbuilt] })
  }
}

async function measureImage (
  image: StoredImage, links: readonly Link[], present: readonly Contender[], random: () => number, context: BenchContext
): Promise<Cell[]> {
  const cleanup = new Cleanup()
  context.cleanup.add(`end what ${image.recipe.name} started`, async () => { await cleanup.run() })
  const sources: Array<Omit<Taking, 'line'>> = []
  const unready = new Map<string, string>()
  const cells: Cell[] = []
  try {
    for (const contender of present) {
      if (stopped(context) || (context.contenders.length === 0 && contender.images?.includes(image.recipe.name) === false)) continue
      try {
        sources.push({ contender, source: await contender.source(image, context, cleanup) })
      } catch (error) {
        unready.set(contender.name, firstLineOf(error))
        if (!stopped(context)) context.say(`  ${image.recipe.name}-${contender.name} FAILED: ${firstLineOf(error)}`)
      }
    }
    const wanted = context.links.length > 0 ? links : links.filter(({ name }) => image.recipe.links?.includes(name) !== false)
    for (const link of wanted) cells.push(...await measureGroup(image, link, sources, unready, random, context))
  } finally {
    await cleanup.run()
  }
  return cells
}

async function measureGroup (
  image: StoredImage, link: Link, sources: ReadonlyArray<Omit<Taking, 'line'>>, unready: ReadonlyMap<string, string>,
  random: () => number, context: BenchContext
): Promise<Cell[]> {
  const cleanup = new Cleanup()
  context.cleanup.add('close the line', async () => { await cleanup.run() })
  const measurements: Measurement[] = []
  const errors = new Map(unready)
  try {
    const taking = await Promise.all(sources.map(async ({ contender, source }) => ({ contender, source, line: await openLine(source, link, cleanup) })))
    const order = shuffled(taking.flatMap((each) => Array.from({ length: context.runs }, (_, run) => ({ ...each, run }))), random)
    for (const { run, ...each } of order) {
      const { contender } = each
      if (context.signal.aborted) break
      const label = `${image.recipe.name}-${link.name}-${contender.name}-${run + 1}`
      try {
        const found = await measureRun(each, image, context, label)
        measurements.push(...found)
        context.say(`  ${label}: ${found.map(summary).join('; ')}`)
      } catch (error) {
        if (stopped(context)) break
        errors.set(contender.name, firstLineOf(error))
        context.say(`  ${label} FAILED: ${firstLineOf(error)}`)
      }
    }
  } finally {
    await cleanup.run()
  }
  return cellsOf(image.recipe.name, link.name, measurements, errors)
}

/** A call, since it changes while we wait. */
function stopped ({ signal }: BenchContext): boolean {
  return signal.aborted
}

function firstLineOf (error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? ''
}

function summary ({ contender, ms, bytes, warning }: Measurement): string {
  return `${contender} ${Math.round(ms)} ms${bytes > 0 ? `, ${(bytes / 1e6).toFixed(1)} MB` : ''}${warning === null ? '' : ` (${warning})`}`
}

async function openLine (source: Source, link: Link, cleanup: Cleanup): Promise<Line> {
  const requests: string[] = []
  const began = performance.now()
  const proxy = await startPacingProxy({
    target: source.url,
    rttMs: link.rttMs,
    bytesPerSecond: link.bytesPerSecond,
    onRequest: (line) => { requests.push(`${Math.round(performance.now() - began)} ${line}`) }
  })
  cleanup.add('close the line', async () => { await proxy.close() })
  return { proxy, requests }
}

async function contenders (context: BenchContext): Promise<{ present: Contender[], absent: Array<{ name: string, why: string }> }> {
  const wanted = context.contenders.map((name) => name === UNPACKED ? fullPull.name : name)
  const present: Contender[] = []
  const absent: Array<{ name: string, why: string }> = []
  for (const contender of chosen('contender', CONTENDERS, wanted)) {
    const why = await contender.absent(context)
    if (why === null) present.push(contender)
    else {
      absent.push({ name: contender.name, why })
      context.say(`absent: ${contender.name}: ${why}`)
    }
  }
  return { present, absent }
}

function chosen<Named extends { readonly name: string }> (what: string, all: readonly Named[], names: readonly string[]): readonly Named[] {
  const unknown = names.filter((name) => !all.some((each) => each.name === name))
  if (unknown.length > 0) throw new Error(`no such ${what}: ${unknown.join(', ')}; there are ${all.map(({ name }) => name).join(', ')}`)
  return names.length === 0 ? all : all.filter(({ name }) => names.includes(name))
}
