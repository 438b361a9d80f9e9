// A page with its marked parts as the code has them now. A part stands between `<!-- npm run docs: NAME [argument…] -->` and `<!-- end -->`;
// everything else on the page is written by hand.
import { configTables } from './config-tables.ts'
import { errorSections, errorTable } from './error-sections.ts'
import { limitsByRoom, namedLimits } from './limit-tables.ts'
import { documentTypes, layerTypes } from './media-types.ts'

const PARTS: Readonly<Record<string, (names: readonly string[]) => string>> = {
  config: configTables,
  'document-types': documentTypes,
  errors: errorTable,
  'error-sections': errorSections,
  'layer-types': layerTypes,
  limits: limitsByRoom,
  'named-limits': namedLimits
}

/** @throws when a mark names no part, or the code lacks a text. */
export function filled (page: string): string {
  return page.replace(/^<!-- npm run docs: (.+?) -->\n[^]*?^<!-- end -->$/mg, (_, words: string) => {
    const [name = '', ...names] = words.split(/\s+/)
    const part = PARTS[name]
    if (part === undefined) throw new Error(`no part of the docs is called ${name}; there are ${Object.keys(PARTS).join(', ')}`)
    return `<!-- npm run docs: ${words} -->\n\n${part(names)}\n\n<!-- end -->`
  })
}
