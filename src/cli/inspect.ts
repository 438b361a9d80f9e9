// `inspect REF`: resolves an image and prints what it is, without daemon, root or containerd. Fetches no layer.
import type { Command } from 'commander'
import type { ImagePlan, PlannedLayer } from '../image/plan.ts'
import { resolveImage } from '../image/resolver.ts'
import { tocDigestOf } from '../layer/estargz.ts'
import { compressionOf } from '../oci/media-types.ts'
import { spellings } from '../oci/spellings.ts'
import { imageCommand, type ImageFlags, withImage } from './image-options.ts'

/** @throws (from its action) what `resolveImage` throws, CONFIG_INVALID */
export function inspectCommand (): Command {
  return imageCommand('inspect', 'resolve an image and print its identity, platform and layers')
    .action(async (reference: string, flags: ImageFlags) => {
      const plan = await withImage(reference, flags, async ({ reference, blocks, signal }) =>
        await resolveImage(reference, { blocks, signal, platform: flags.platform }))
      const facts = describePlan(plan)
      process.stdout.write(flags.json === true ? `${JSON.stringify(facts)}\n` : renderPlan(facts))
    })
}

export interface PlanFacts {
  readonly reference: string
  readonly references: { readonly nerdctl: string, readonly ctr: string, readonly cri: string }
  readonly cid: string
  readonly platform: string
  readonly manifestDigest: string
  readonly indexDigest: string | null
  readonly configDigest: string
  readonly mediaType: string
  readonly layers: readonly LayerFacts[]
}

interface LayerFacts {
  readonly digest: string
  readonly diffId: string
  readonly chainId: string
  readonly cid: string
  readonly mediaType: string
  readonly size: number
  readonly lazy: boolean
}

export function describePlan (plan: ImagePlan): PlanFacts {
  return {
    reference: plan.canonical,
    references: { ...spellings(plan.rootCid, plan.manifest.digest) },
    cid: plan.rootCid.toString(),
    platform: plan.platform,
    manifestDigest: plan.manifest.digest,
    indexDigest: plan.index?.digest ?? null,
    configDigest: plan.config.digest,
    mediaType: plan.manifest.mediaType,
    layers: plan.layers.map(describeLayer)
  }
}

function describeLayer (layer: PlannedLayer): LayerFacts {
  const { digest, diffId, chainId, cid, mediaType, size } = layer
  const lazy = compressionOf(mediaType, `layer ${digest}`) !== 'zstd' && tocDigestOf(layer) !== null
  return { digest, diffId, chainId, cid: cid.toString(), mediaType, size, lazy }
}

/** The same for people: one fact a line, names first. */
export function renderPlan (facts: PlanFacts): string {
  const total = facts.layers.reduce((sum, { size }) => sum + size, 0)
  const lines = [
    ['reference', facts.reference],
    ['platform', facts.platform],
    ['manifest', `${facts.manifestDigest}  ${facts.mediaType}`],
    ['index', facts.indexDigest ?? 'none'],
    ['config', facts.configDigest],
    ['layers', `${facts.layers.length}, ${total} bytes`],
    ...facts.layers.map(({ digest, size, lazy, cid }) =>
      ['', `${digest}  ${String(size).padStart(11)} bytes  ${lazy ? 'lazy ' : 'whole'}  ipfs://${cid}`])
  ]
  return lines.map(([name = '', text = '']) => `${name.padEnd(10)} ${text}\n`).join('')
}
