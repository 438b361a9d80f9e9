// Chunks that another layer's cache holds are taken from there and not from the network: images of one family have most
// files in common. The other cache is as untrusted as any disk: bytes are hashed here, and by the worker that takes them.
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { SHARED_CHUNK_BYTES_MIN, SHARED_CHUNKS_MAX } from '../base/limits.ts'
import { digestBytes, digestOf } from '../verify/digest.ts'
import type { PlacedChunk } from '../layer/placed-chunks.ts'
import type { ChunkRun, SuppliedFile, SupplySink } from '../mount/supply.ts'

interface SharedChunksInit {
  readonly files: () => readonly SuppliedFile[]
  readonly sink: Pick<SupplySink, 'supply'>
}

interface Place { readonly folder: string, readonly table: number, readonly chunk: PlacedChunk }

const PRESENT = 1

export class SharedChunks {
  readonly #init: SharedChunksInit
  /** By digest: the first place of each. Folders that are not served any more are forgotten when they are met. */
  readonly #places = new Map<string, Place>()
  readonly #indexed = new Set<string>()
  /** Taken from another cache so far. */
  chunks = 0
  bytes = 0

  constructor (init: SharedChunksInit) {
    this.#init = init
  }

  /** Supplies what other caches have; answers what is left. Never throws. */
  async answer (name: string, runs: readonly ChunkRun[]): Promise<readonly ChunkRun[]> {
    const files = this.#init.files()
    const file = files.find((one) => one.name === name)
    if (file === undefined) return runs
    const served = new Set(files.map(({ cacheFolder }) => cacheFolder))
    for (const other of files) if (other.cacheFolder !== file.cacheFolder) this.#index(other)
    const left: Array<{ first: number, count: number }> = []
    for (const { first, count } of runs) {
      for (let chunk = first; chunk < first + count; chunk++) {
        if (await this.#take(file, chunk, served)) continue
        const last = left.at(-1)
        if (last !== undefined && last.first + last.count === chunk) last.count++
        else left.push({ first: chunk, count: 1 })
      }
    }
    this.#index(file)
    return left
  }

  #index ({ cacheFolder, chunks }: SuppliedFile): void {
    if (this.#indexed.has(cacheFolder)) return
    this.#indexed.add(cacheFolder)
    for (const [table, chunk] of chunks.entries()) {
      if (this.#places.size >= SHARED_CHUNKS_MAX) return
      if (chunk.size < SHARED_CHUNK_BYTES_MIN) continue
      const key = keyOf(chunk)
      if (!this.#places.has(key)) this.#places.set(key, { folder: cacheFolder, table, chunk })
    }
  }

  async #take (file: SuppliedFile, at: number, served: ReadonlySet<string>): Promise<boolean> {
    const wanted = file.chunks[at]
    const place = wanted === undefined ? undefined : this.#places.get(keyOf(wanted))
    if (wanted === undefined || place === undefined || place.folder === file.cacheFolder || place.chunk.size !== wanted.size) return false
    if (!served.has(place.folder)) {
      this.#places.delete(keyOf(wanted))
      this.#indexed.delete(place.folder)
      return false
    }
    const bytes = await readChunk(place).catch(() => null)
    if (bytes === null || keyOf({ digest: digestBytes(digestOf(bytes)) }) !== keyOf(wanted)) return false
    await this.#init.sink.supply(file.name, 'raw', at, 1, bytes)
    this.chunks++
    this.bytes += bytes.byteLength
    return true
  }
}

function keyOf ({ digest }: Pick<PlacedChunk, 'digest'>): string {
  return Buffer.from(digest).toString('latin1')
}

/** Null when it is not there. */
async function readChunk ({ folder, table, chunk }: Place): Promise<Uint8Array | null> {
  await using marks = await open(join(folder, 'present'), 'r')
  const mark = Buffer.alloc(1)
  await marks.read(mark, 0, 1, table)
  if (mark[0] !== PRESENT) return null
  await using data = await open(join(folder, 'data'), 'r')
  const bytes = Buffer.alloc(chunk.size)
  const { bytesRead } = await data.read(bytes, 0, chunk.size, chunk.dataOffset)
  return bytesRead === chunk.size ? bytes : null
}
