// `verify REF`: fetches all of an image and proves it: every block against its CID, every document and layer against its
// digest, every tar against its diffID, every TOC and chunk against the tar. Without daemon or root; prints what was hashed.
import type { Command } from 'commander'
import { systemClock } from '../base/clock.ts'
import { type ImageProof, type LayerProver, proveImage } from '../image/prove-image.ts'
import { openEstargz, tocDigestOf } from '../layer/estargz.ts'
import { proveLayer } from '../layer/prove.ts'
import { imageCommand, type ImageFlags, withImage } from './image-options.ts'
import { describePlan, type PlanFacts, renderPlan } from './inspect.ts'
import { createProgress, type Progress } from './progress.ts'

/** @throws (from its action) what `proveImage` throws, CONFIG_INVALID */
export function verifyCommand (): Command {
  return imageCommand('verify', 'fetch an image and prove every block, digest, diffID, TOC and chunk')
    .action(async (text: string, flags: ImageFlags) => {
      const progress = createProgress(process.stderr, systemClock)
      try {
        const facts = await withImage(text, flags, async ({ reference, blocks, signal }) => {
          const proof = await proveImage(reference, {
            blocks,
            signal,
            platform: flags.platform,
            prove: layerProver(progress),
            onLayer: ({ digest, size }) => progress.report({ event: 'begin', item: digest, phase: 'prove', total: size }),
            onProven: ({ digest }, { tarBytes, chunks }) =>
              progress.report({ event: 'end', item: digest, text: `proven, ${tarBytes} bytes of tar, ${chunks} chunks` })
          })
          return describeProof(proof, blocks.sources().reduce((sum, source) => sum + source.blocks, 0))
        })
        progress.finish()
        process.stdout.write(flags.json === true ? `${JSON.stringify(facts)}\n` : renderProof(facts))
      } finally {
        progress.finish()
      }
    })
}

/** Proves one layer in one pass over its blob; an eStargz layer's TOC is opened first, the way a mount would. */
export function layerProver (progress?: Pick<Progress, 'report'>): LayerProver {
  return async (layer, file, waits) => {
    const { digest, diffId, mediaType, size } = layer
    const tocDigest = tocDigestOf(layer)
    const toc = tocDigest === null ? undefined : { index: await openEstargz(file, size, tocDigest, waits), digest: tocDigest }
    const stream = counted(file.stream(0, file.size, waits), (bytes) => progress?.report({ event: 'advance', item: digest, bytes }))
    const { tarBytes, chunks } = await proveLayer({ stream, digest, size, diffId, mediaType, signal: waits.signal, toc })
    return { tarBytes, chunks, lazy: toc !== undefined }
  }
}

async function * counted (stream: AsyncIterable<Uint8Array>, onBytes: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const piece of stream) {
    onBytes(piece.byteLength)
    yield piece
  }
}

export interface ProofFacts extends PlanFacts {
  readonly verified: true
  /** Blocks that the sources delivered, each held against its CID. */
  readonly blocks: number
  /** Bytes of layers, documents and other files below the root, each file held against its digest. */
  readonly bytesHashed: number
  /** Bytes of the layers' tars, held against the diffIDs. */
  readonly tarBytesHashed: number
  readonly chunks: number
  readonly files: number
  readonly directories: number
}

export function describeProof (proof: ImageProof, blocks: number): ProofFacts {
  return {
    ...describePlan(proof.plan),
    verified: true,
    blocks,
    bytesHashed: proof.bytesHashed,
    tarBytesHashed: proof.layers.reduce((sum, { tarBytes }) => sum + tarBytes, 0),
    chunks: proof.layers.reduce((sum, { chunks }) => sum + chunks, 0),
    files: proof.otherFiles + new Set(proof.layers.map(({ digest }) => digest)).size,
    directories: proof.directories
  }
}

function renderProof (facts: ProofFacts): string {
  const counts = `${facts.blocks} blocks, ${facts.files} files, ${facts.layers.length} layers, ${facts.chunks} chunks`
  const bytes = `${facts.bytesHashed} bytes of files and ${facts.tarBytesHashed} bytes of tar`
  return `${renderPlan(facts)}${'verified'.padEnd(10)} ${counts}\n${'hashed'.padEnd(10)} ${bytes}\n`
}
