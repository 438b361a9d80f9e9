// `verify REF`: fetches all of an image and proves it: every block against its CID, every document and layer against its
// digest, every tar against its diffID, every TOC and chunk against the tar. Without daemon or root; prints what was hashed.
import type { Command } from 'commander'
import type { Report } from '../base/report.ts'
import type { ProofFacts } from '../library/facts.ts'
import { verifyImage } from '../library/index.ts'
import type { VerifyProgress } from '../library/options.ts'
import { imageCommand, type ImageFlags, withImageOptions } from './image-options.ts'
import { renderImage } from './inspect.ts'
import { progressFor } from './progress.ts'

/** @throws (from its action) what `verifyImage` throws, CONFIG_INVALID */
export function verifyCommand (): Command {
  return imageCommand('verify', 'fetch an image and prove every block, digest, diffID, TOC and chunk')
    .action(async (reference: string, flags: ImageFlags) => {
      const progress = progressFor(flags)
      progress.report({ event: 'begin', item: reference, phase: 'resolve', total: 0 })
      const onProgress = telling(reference, progress.report)
      try {
        const facts = await withImageOptions(flags, async (options) => await verifyImage(reference, { ...options, onProgress }))
        progress.report({ event: 'end', item: reference, text: `proven, ${facts.bytesHashed} bytes` })
        progress.finish()
        process.stdout.write(flags.json === true ? `${JSON.stringify(facts)}\n` : renderProof(facts))
      } finally {
        progress.finish()
      }
    })
}

/** The image is an item beside its layers: when all of it is proven is what people wait for. */
function telling (image: string, report: Report): (event: VerifyProgress) => void {
  let areLayersDone = false
  return (event) => {
    if (event.event === 'resolved') report({ event: 'begin', item: image, phase: 'prove', total: event.size })
    else if (event.event === 'begin') report({ event: 'begin', item: event.layer, phase: 'prove', total: event.size })
    else if (event.event === 'advance') for (const item of [event.layer, image]) report({ event: 'advance', item, bytes: event.bytes })
    else if (event.event === 'end') report({ event: 'end', item: event.layer, text: `proven, ${event.tarBytes} bytes of tar, ${event.chunks} chunks` })
    else {
      if (!areLayersDone) report({ event: 'begin', item: image, phase: 'others', total: 0 })
      areLayersDone = true
      report({ event: 'advance', item: image, bytes: event.bytes })
    }
  }
}

function renderProof (facts: ProofFacts): string {
  const counts = `${facts.blocks} blocks, ${facts.files} files, ${facts.layers.length} layers, ${facts.chunks} chunks`
  const bytes = `${facts.bytesHashed} bytes of files and ${facts.tarBytesHashed} bytes of tar`
  return `${renderImage(facts)}${'verified'.padEnd(10)} ${counts}\n${'hashed'.padEnd(10)} ${bytes}\n`
}
