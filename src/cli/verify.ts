// `verify REF`: fetches all of an image and proves it: every block against its CID, every document and layer against its
// digest, every tar against its diffID, every TOC and chunk against the tar. Without daemon or root; prints what was hashed.
import type { Command } from 'commander'
import { systemClock } from '../base/clock.ts'
import type { ProofFacts } from '../library/facts.ts'
import { verifyImage } from '../library/index.ts'
import type { VerifyProgress } from '../library/options.ts'
import { imageCommand, type ImageFlags, withImageOptions } from './image-options.ts'
import { renderImage } from './inspect.ts'
import { createProgress, type ProgressEvent } from './progress.ts'

/** @throws (from its action) what `verifyImage` throws, CONFIG_INVALID */
export function verifyCommand (): Command {
  return imageCommand('verify', 'fetch an image and prove every block, digest, diffID, TOC and chunk')
    .action(async (reference: string, flags: ImageFlags) => {
      const progress = createProgress(process.stderr, systemClock)
      const onProgress = (event: VerifyProgress): void => { progress.report(shown(event)) }
      try {
        const facts = await withImageOptions(flags, async (options) => await verifyImage(reference, { ...options, onProgress }))
        progress.finish()
        process.stdout.write(flags.json === true ? `${JSON.stringify(facts)}\n` : renderProof(facts))
      } finally {
        progress.finish()
      }
    })
}

function shown (event: VerifyProgress): ProgressEvent {
  const item = event.layer
  if (event.event === 'begin') return { event: 'begin', item, phase: 'prove', total: event.size }
  if (event.event === 'advance') return { event: 'advance', item, bytes: event.bytes }
  return { event: 'end', item, text: `proven, ${event.tarBytes} bytes of tar, ${event.chunks} chunks` }
}

function renderProof (facts: ProofFacts): string {
  const counts = `${facts.blocks} blocks, ${facts.files} files, ${facts.layers.length} layers, ${facts.chunks} chunks`
  const bytes = `${facts.bytesHashed} bytes of files and ${facts.tarBytesHashed} bytes of tar`
  return `${renderImage(facts)}${'verified'.padEnd(10)} ${counts}\n${'hashed'.padEnd(10)} ${bytes}\n`
}
