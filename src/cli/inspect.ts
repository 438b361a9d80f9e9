// `inspect REF`: resolves an image and prints what it is, without daemon, root or containerd. Fetches no layer.
import type { Command } from 'commander'
import type { ImageFacts } from '../library/facts.ts'
import { resolveImage } from '../library/index.ts'
import { imageCommand, type ImageFlags, withImageOptions } from './image-options.ts'
import { progressFor } from './progress.ts'

/** @throws (from its action) what `resolveImage` throws, CONFIG_INVALID */
export function inspectCommand (): Command {
  return imageCommand('inspect', 'resolve an image and print its identity, platform and layers')
    .action(async (reference: string, flags: ImageFlags) => {
      // Mostly over in no time: only who looks on, or asks for it, hears of it.
      const progress = progressFor(flags, 'quiet')
      progress.report({ event: 'begin', item: reference, phase: 'resolve', total: 0 })
      const facts = await withImageOptions(flags, async (options) => await resolveImage(reference, options)).finally(progress.finish)
      progress.report({ event: 'end', item: reference, text: '' })
      process.stdout.write(flags.json === true ? `${JSON.stringify(facts)}\n` : renderImage(facts))
    })
}

/** The same for people: one fact a line, names first. */
export function renderImage (facts: ImageFacts): string {
  const lines = [
    ['reference', facts.reference],
    ['platform', facts.platform],
    ['manifest', `${facts.manifestDigest}  ${facts.mediaType}`],
    ['index', facts.indexDigest ?? 'none'],
    ['config', facts.configDigest],
    ['layers', `${facts.layers.length}, ${facts.size} bytes`],
    ...facts.layers.map(({ digest, size, lazy, cid }) =>
      ['', `${digest}  ${String(size).padStart(11)} bytes  ${lazy ? 'lazy ' : 'whole'}  ipfs://${cid}`])
  ]
  return lines.map(([name = '', text = '']) => `${name.padEnd(10)} ${text}\n`).join('')
}
