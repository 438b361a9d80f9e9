// Reads typed fields out of a strict JSON object, with messages that name the document and the field. Refuses keys that a
// case-insensitive reader (Go's encoding/json, so containerd) would take for a field of ours: `Layers` beside `layers`.
import { SnapshotterError } from '../base/errors.ts'
import { type Digest, isDigest } from '../verify/digest.ts'
import { isJsonObject, type JsonObject, type JsonValue } from './strict-json.ts'

export class Fields {
  readonly #object: JsonObject
  readonly #what: string

  /**
   * `what` names the document or part in messages; `known` are all keys that mean something to any reader.
   * @throws NOT_OCI when `value` is no object or has a look-alike key.
   */
  constructor (value: JsonValue | undefined, what: string, known: readonly string[]) {
    if (!isJsonObject(value)) throw new SnapshotterError('NOT_OCI', `${what} is ${kindOf(value)}, not an object`)
    this.#object = value
    this.#what = what
    const folded = foldedNames(known)
    for (const key of Object.keys(value)) {
      const meant = folded.get(foldCase(key))
      if (meant !== undefined && meant !== key) this.refuse(`has the key ${JSON.stringify(key)}, which some readers take for "${meant}"`)
    }
  }

  has (key: string): boolean {
    return this.#object[key] !== undefined
  }

  value (key: string): JsonValue | undefined {
    return this.#object[key]
  }

  string (key: string): string {
    const value = this.#object[key]
    if (typeof value !== 'string' || value === '') this.#expected(key, 'a text')
    return value
  }

  /** Absent, null and "" are the same to Go's readers. */
  optionalString (key: string): string | null {
    const value = this.#object[key]
    if (value === undefined || value === null || value === '') return null
    return this.string(key)
  }

  /** A whole number from 0 to 2^53 - 1. */
  size (key: string): number {
    const value = this.#object[key]
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) this.#expected(key, 'a number of bytes')
    return value
  }

  digest (key: string): Digest {
    return this.#digest(this.#object[key], key)
  }

  digests (key: string): Digest[] {
    return this.array(key).map((value, at) => this.#digest(value, `${key}[${at}]`))
  }

  array (key: string): JsonValue[] {
    const value = this.#object[key]
    if (!Array.isArray(value)) this.#expected(key, 'a list')
    return value
  }

  strings (key: string): string[] {
    const value = this.#object[key] ?? []
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) this.#expected(key, 'a list of texts')
    return value
  }

  /** A map of texts; absent and null are empty. */
  map (key: string): Readonly<Record<string, string>> {
    const value = this.#object[key] ?? {}
    if (!isJsonObject(value)) this.#expected(key, 'a map of texts')
    const odd = Object.entries(value).find(([, text]) => typeof text !== 'string')
    if (odd !== undefined) this.#expected(`${key}[${JSON.stringify(odd[0].slice(0, 64))}]`, 'a text', odd[1])
    return value as Record<string, string>
  }

  refuse (why: string): never {
    throw new SnapshotterError('NOT_OCI', `${this.#what} ${why}`)
  }

  #digest (value: JsonValue | undefined, where: string): Digest {
    if (typeof value !== 'string') this.#expected(where, 'a digest', value)
    if (!isDigest(value)) {
      this.refuse(`has ${where} = ${JSON.stringify(value.slice(0, 80))}; only sha256 digests in lower case are accepted`)
    }
    return value
  }

  #expected (key: string, kind: string, value = this.#object[key]): never {
    const got = value === undefined ? `has no ${key}` : `has ${key} = ${JSON.stringify(value).slice(0, 80)}`
    return this.refuse(`${got}; ${kind} was expected`)
  }
}

function kindOf (value: JsonValue | undefined): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  return `a ${typeof value}`
}

const FOLDED = new WeakMap<readonly string[], ReadonlyMap<string, string>>()

/** `known` by its folded names. A document of a few megabytes may hold a million keys: each is folded once. */
function foldedNames (known: readonly string[]): ReadonlyMap<string, string> {
  let names = FOLDED.get(known)
  if (names === undefined) {
    names = new Map(known.map((name) => [foldCase(name), name]))
    FOLDED.set(known, names)
  }
  return names
}

/** Simple case folding as Go's encoding/json does it: ſ (U+017F) is s, K (U+212A) is k. */
function foldCase (text: string): string {
  return text.toUpperCase().toLowerCase()
}
