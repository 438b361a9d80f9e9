// src/config/schema.ts as tables, one for each table of the file: key, type, default, and what `.describe()` says of it.
import type { z } from 'zod'
import { configSchema } from '../../src/config/schema.ts'
import { code, table } from './markdown.ts'

interface Key { readonly name: string, readonly type: string, readonly standard: string, readonly does: string }
interface Section { readonly title: string, readonly about: string, readonly keys: readonly Key[] }

const UNITS: Readonly<Record<string, ReadonlyArray<readonly [string, number]>>> = {
  size: [['TiB', 2 ** 40], ['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10], ['B', 1]],
  rate: [['GiB/s', 2 ** 30], ['MiB/s', 2 ** 20], ['KiB/s', 2 ** 10], ['B/s', 1]],
  duration: [['h', 3_600_000], ['m', 60_000], ['s', 1_000], ['ms', 1]]
}

export function configTables (): string {
  return tablesOf(configSchema)
}

/** @throws for a key that does not say what it does */
export function tablesOf (schema: z.ZodObject): string {
  return sectionsOf(schema).map(({ title, about, keys }) => [
    `### ${title}`,
    ...about === '' ? [] : [about],
    table(['key', 'type', 'default', 'what it does'], keys.map(({ name, type, standard, does }) => [code(name), type, standard, does]))
  ].join('\n\n')).join('\n\n')
}

/** Top keys first, then tables and lists of tables, in the order of the schema. */
function sectionsOf (root: z.ZodObject): Section[] {
  const tables: Section[] = []
  const top: Key[] = []
  for (const [name, field] of Object.entries(root.shape)) {
    const { schema, description } = peeled(field as z.ZodType)
    if (isA(schema, 'object')) tables.push({ title: code(`[${name}]`), about: description, keys: keysOf(schema, name) })
    else if (isA(schema, 'array')) tables.push(...listSections(name, peeled(schema.def.element as z.ZodType).schema, description))
    else top.push(keyOf(name, field as z.ZodType, name))
  }
  return [{ title: 'At the top', about: '', keys: top }, ...tables]
}

function listSections (name: string, element: z.ZodType, about: string): Section[] {
  if (isA(element, 'object')) return [{ title: code(`[[${name}]]`), about, keys: keysOf(element, name) }]
  if (!isA(element, 'union')) throw new Error(`src/config/schema.ts: [[${name}]] is no table`)
  return (element.def.options as readonly z.ZodObject[]).map((option, at) => {
    const title = `[[${name}]] type = "${valuesOf(peeled(option.shape['type'] as z.ZodType).schema).join()}"`
    return { title: code(title), about: at === 0 ? about : '', keys: keysOf(option, name).filter((key) => key.name !== 'type') }
  })
}

function keysOf (object: z.ZodObject, place: string): Key[] {
  return Object.entries(object.shape).map(([name, field]) => keyOf(name, field as z.ZodType, `${place}.${name}`))
}

function keyOf (name: string, field: z.ZodType, path: string): Key {
  const { schema, description, title, standard, isOptional } = peeled(field)
  const isChosen = isA(schema, 'literal')
  if (description === '' && !isChosen) throw new Error(`src/config/schema.ts: ${path} has no .describe(): docs/CONFIG.md has to say what it does`)
  const values = valuesOf(schema)
  const type = values.length > 0 ? values.map((value) => code(JSON.stringify(value))).join(', ') : title === '' ? 'text' : title
  const shown = standard === undefined ? (isOptional ? '' : 'must be given') : code(JSON.stringify(inWords(standard, title)))
  return { name, type, standard: shown, does: description }
}

interface Peeled {
  readonly schema: z.ZodType
  readonly description: string
  readonly title: string
  readonly standard: unknown
  readonly isOptional: boolean
}

/** What is below optional, default, and checks that change the type; the outermost words win. */
function peeled (field: z.ZodType): Peeled {
  let schema = field
  let [description, title, isOptional] = ['', '', false]
  let standard: unknown
  for (;;) {
    const meta = schema.meta()
    description ||= meta?.description ?? ''
    title ||= meta?.title ?? ''
    if (isA(schema, 'default')) standard ??= schema.def.defaultValue
    isOptional ||= isA(schema, 'optional') || isA(schema, 'prefault')
    const inner = ['optional', 'default', 'prefault'].includes(schema.def.type) ? (schema as z.ZodOptional).def.innerType as z.ZodType : null
    if (inner === null) return { schema, description, title, standard, isOptional }
    schema = inner
  }
}

function valuesOf (schema: z.ZodType): readonly unknown[] {
  if (isA(schema, 'enum')) return Object.values(schema.def.entries)
  return isA(schema, 'literal') ? schema.def.values : []
}

interface Kinds {
  object: z.ZodObject, array: z.ZodArray, union: z.ZodUnion, enum: z.ZodEnum, literal: z.ZodLiteral
  optional: z.ZodOptional, default: z.ZodDefault, prefault: z.ZodPrefault
}

function isA<Kind extends keyof Kinds> (schema: z.ZodType, kind: Kind): schema is Kinds[Kind] & z.ZodType {
  return schema.def.type === kind
}

/** Numbers in the largest unit that leaves none over, as the file writes them. */
function inWords (value: unknown, title: string): unknown {
  const units = UNITS[title]
  if (units === undefined || typeof value !== 'number') return value
  const [unit, size] = units.find(([, size]) => value >= size && value % size === 0) ?? ['', 1]
  return `${value / size}${unit}`
}
