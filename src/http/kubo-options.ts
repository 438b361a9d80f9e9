// Options of Kubo's commands that write, from the query: what is known is read strictly, what is not is refused unless it is
// off. An option that was passed over could change what a client believes to be stored. Spec: docs.ipfs.tech/reference/kubo/rpc.
import { SnapshotterError } from '../base/errors.ts'
import { CHUNKER_BYTES_MAX } from '../base/limits.ts'
import type { KuboRequest } from './kubo-request.ts'

/** They change nothing here: how a client reads its own disk or shows an answer, and announcements to peers, of which there are none. */
const IDLE = new Set(['arg', 'stream-channels', 'timeout', 'quiet', 'quieter', 'recursive', 'hidden', 'ignore', 'ignore-rules-path', 'dereference-args',
  'dereference-symlinks', 'stdin-name', 'inline-limit', 'fast-provide-root', 'fast-provide-dag', 'fast-provide-wait'])
const OFF = ['', 'false', '0']
const ON = ['true', '1']

export class KuboOptions {
  readonly #command: string
  readonly #query: URLSearchParams

  /** @throws UNSUPPORTED for what is neither off nor among `known`. */
  constructor ({ command, query }: KuboRequest, known: readonly string[]) {
    this.#command = command
    this.#query = query
    for (const [name, value] of query) {
      const fits = name === 'encoding' ? value === 'json' : IDLE.has(name) || known.includes(name) || OFF.includes(value)
      if (!fits) throw this.#refusal('UNSUPPORTED', name, 'this daemon does not do that')
    }
  }

  isSet (name: string): boolean {
    return this.#query.has(name)
  }

  /** @throws INVALID_ARGUMENT */
  flag (name: string, otherwise: boolean): boolean {
    const value = this.#query.get(name)
    if (value === null || value === '') return otherwise
    if (ON.includes(value)) return true
    if (OFF.includes(value)) return false
    throw this.#refusal('INVALID_ARGUMENT', name, 'true or false')
  }

  /** One of `offered`, the first when it is not given. @throws UNSUPPORTED */
  choice<Word extends string> (name: string, offered: readonly [Word, ...Word[]]): Word {
    const value = this.#query.get(name) ?? ''
    if (value === '') return offered[0]
    const found = offered.find((word) => word === value)
    if (found === undefined) throw this.#refusal('UNSUPPORTED', name, `only ${offered.join(', ')}`)
    return found
  }

  /** Bytes of `size-N`. @throws UNSUPPORTED, INVALID_ARGUMENT */
  chunker (otherwise: number): number {
    const value = this.#query.get('chunker') ?? ''
    if (value === '' || value === 'default') return otherwise
    if (!value.startsWith('size-')) throw this.#refusal('UNSUPPORTED', 'chunker', 'only size-N')
    const bytes = /^size-[1-9]\d{0,8}$/.test(value) ? Number(value.slice(5)) : Infinity
    if (bytes > CHUNKER_BYTES_MAX) throw this.#refusal('INVALID_ARGUMENT', 'chunker', `size-N with N from 1 to ${CHUNKER_BYTES_MAX}`)
    return bytes
  }

  #refusal (code: 'UNSUPPORTED' | 'INVALID_ARGUMENT', name: string, why: string): SnapshotterError {
    const value = this.#query.get(name) ?? ''
    return new SnapshotterError(code, `${this.#command}: ${name.slice(0, 80)}=${value.slice(0, 80)}: ${why}`)
  }
}
