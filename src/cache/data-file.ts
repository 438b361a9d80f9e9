// The data file that the pass over a plain layer fills: bytes at their places in the data device, gathered into large
// writes, and `present` marks for the data plane, which believes neither and hashes every chunk on its first use. When the
// cache has no room for the rest, the rest is left out: whoever reads it fetches it again.
import { type FileHandle, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SnapshotterError, systemCode } from '../base/errors.ts'
import { DATA_WRITE_BYTES } from '../base/limits.ts'
import type { DataLayout, LayerIndex } from '../layer/layer-index.ts'
import type { DataSink, DirectSink } from '../layer/plain-layer.ts'
import type { Take } from '../layer/tar-reader.ts'

const PRESENT = 1

/** Room for that many bytes; the answer is called when they are written. Null: there is none. */
export type Room = (bytes: number) => Promise<(() => void) | null>

export class DataFile implements DataSink {
  readonly #folder: string
  readonly #room: Room
  readonly #file: FileHandle
  readonly #gathered = Buffer.alloc(DATA_WRITE_BYTES)
  #gatheredAt = 0
  #gatheredBytes = 0
  /** Bytes from here on were left out. */
  #full = Infinity

  private constructor (folder: string, file: FileHandle, room: Room) {
    this.#folder = folder
    this.#room = room
    this.#file = file
  }

  static async create (folder: string, room: Room = async () => () => {}): Promise<DataFile> {
    return new DataFile(folder, await open(join(folder, 'data'), 'wx+', 0o600), room)
  }

  async write (offset: number, bytes: Uint8Array): Promise<void> {
    if (offset !== this.#gatheredAt + this.#gatheredBytes || this.#gatheredBytes + bytes.byteLength > DATA_WRITE_BYTES) {
      await this.#flush()
      this.#gatheredAt = offset
    }
    if (bytes.byteLength > DATA_WRITE_BYTES) {
      await this.#writeAll(bytes, offset)
      this.#gatheredAt = offset + bytes.byteLength
    } else {
      this.#gathered.set(bytes, this.#gatheredBytes)
      this.#gatheredBytes += bytes.byteLength
    }
  }

  get direct (): DirectSink {
    return { file: this.#file.fd, take: this.#take.bind(this) }
  }

  async move (from: number, to: number, length: number): Promise<void> {
    await this.#flush()
    if (from + length > this.#full) {
      this.#full = Math.min(this.#full, to) // what stands behind does not stand where it is read
      return
    }
    const buffer = Buffer.alloc(Math.min(length, DATA_WRITE_BYTES))
    for (let done = 0; done < length;) {
      const { bytesRead } = await this.#file.read(buffer, 0, Math.min(buffer.length, length - done), from + done)
      if (bytesRead === 0) return // a hole at the end of the file: the chunk's digest will tell
      await this.#writeAll(buffer.subarray(0, bytesRead), to + done)
      done += bytesRead
    }
  }

  /** Marks every chunk present that was kept. */
  async finish (index: LayerIndex, layout: DataLayout): Promise<void> {
    await this.#flush()
    await this.#file.truncate(layout.size)
    await this.#file.close()
    const marks = Buffer.alloc(index.chunks.length, PRESENT)
    if (this.#full < Infinity) marks.fill(0, keptChunks(index, layout, this.#full))
    await writeFile(join(this.#folder, 'present'), marks, { mode: 0o600 })
  }

  async close (): Promise<void> {
    await this.#file.close().catch(() => {})
  }

  /** What came before goes first: room is given in the order of the tar. */
  async #take (offset: number, length: number, take: Take): Promise<Uint8Array> {
    await this.#flush()
    const written = offset < this.#full ? await this.#room(length) : null
    if (written === null) {
      this.#full = Math.min(this.#full, offset)
      return await take(null)
    }
    try {
      return await take(offset)
    } catch (cause) {
      throw this.#refused(cause)
    } finally {
      written()
    }
  }

  async #flush (): Promise<void> {
    if (this.#gatheredBytes > 0) await this.#writeAll(this.#gathered.subarray(0, this.#gatheredBytes), this.#gatheredAt)
    this.#gatheredAt += this.#gatheredBytes
    this.#gatheredBytes = 0
  }

  async #writeAll (bytes: Uint8Array, offset: number): Promise<void> {
    if (offset >= this.#full) return
    const written = await this.#room(bytes.byteLength)
    if (written === null) {
      this.#full = offset
      return
    }
    try {
      for (let done = 0; done < bytes.byteLength;) {
        done += (await this.#file.write(bytes, done, bytes.byteLength - done, offset + done)).bytesWritten
      }
    } catch (cause) {
      throw this.#refused(cause)
    } finally {
      written()
    }
  }

  #refused (cause: unknown): unknown {
    const code = systemCode(cause)
    if (code !== 'ENOSPC' && code !== 'EDQUOT' && code !== 'EROFS') return cause
    return new SnapshotterError('RESOURCE_EXHAUSTED', `the cache below ${this.#folder} takes no more bytes (${code})`, {}, { cause })
  }
}

/** How many chunks, from the first, end before `full` in the data device: table order is the order of files. */
function keptChunks (index: LayerIndex, { fileOffsets }: DataLayout, full: number): number {
  const ends = index.inodes.flatMap(({ firstChunk, chunkCount }, inode) => index.chunks.slice(firstChunk, firstChunk + chunkCount)
    .map(({ fileOffset, size }) => (fileOffsets[inode] ?? 0) + fileOffset + size)).sort((a, b) => a - b)
  const kept = ends.findIndex((end) => end > full)
  return kept === -1 ? ends.length : kept
}
