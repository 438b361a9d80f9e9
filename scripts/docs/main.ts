// `npm run docs`: writes into docs/ what the code says, and draws its picture. Prints the files that it changed.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { filled } from './filled.ts'
import { picture } from './picture.ts'

const FOLDER = resolve(import.meta.dirname, '../../docs')

function put (name: string, before: string, after: string): void {
  if (after === before) return
  writeFileSync(join(FOLDER, name), after)
  process.stdout.write(`docs/${name}\n`)
}

function read (name: string): string {
  return readFileSync(join(FOLDER, name), 'utf8')
}

for (const name of readdirSync(FOLDER).filter((name) => name.endsWith('.md'))) put(name, read(name), filled(read(name)))
put('data-flow.svg', read('data-flow.svg'), picture(read('data-flow.txt')))
