// Answers the data plane for the self-test's files: the first chunk gets its bytes, any other an errno.
import type { ChunkRun, SupplySink } from './supply.ts'

export class SelfTestFiles {
  readonly #sink: SupplySink
  readonly #expected = new Map<string, { readonly good: Uint8Array, readonly errno: number }>()

  constructor (sink: SupplySink) {
    this.#sink = sink
  }

  expect (name: string, good: Uint8Array, errno: number): void {
    this.#expected.set(name, { good, errno })
  }

  forget (name: string): void {
    this.#expected.delete(name)
  }

  /** False when the file is not one of ours. */
  async answer (name: string, runs: readonly ChunkRun[]): Promise<boolean> {
    const file = this.#expected.get(name)
    if (file === undefined) return false
    for (const { first, count } of runs) {
      for (let chunk = first; chunk < first + count; chunk++) {
        if (chunk === 0) await this.#sink.supply(name, 'raw', 0, 1, file.good)
        else this.#sink.fail(name, chunk, 1, file.errno)
      }
    }
    return true
  }
}
