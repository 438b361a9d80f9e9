// `npm run docs`: writes into the pages of docs/ what the code says. Prints the pages that it changed.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { filled } from './filled.ts'

const FOLDER = resolve(import.meta.dirname, '../../docs')

for (const name of readdirSync(FOLDER).filter((name) => name.endsWith('.md'))) {
  const before = readFileSync(join(FOLDER, name), 'utf8')
  const after = filled(before)
  if (after === before) continue
  writeFileSync(join(FOLDER, name), after)
  process.stdout.write(`docs/${name}\n`)
}
