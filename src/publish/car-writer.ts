// A CAR v1 on disk, block after block, no block twice. The roots are known last, so the header is written first with
// placeholders of the same length and patched at the end. Nothing appears under the final name before everything is on
// disk; `discard` leaves no file behind. Memory: about 100 bytes for each block.
import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { CarWriter as Car } from '@ipld/car'
import { createWriter as createHeaderWriter } from '@ipld/car/buffer-writer'
import type { CID } from 'multiformats/cid'
import { messageOf, SnapshotterError } from '../base/errors.ts'
import { CAR_HEADER_BYTES_MAX } from '../base/limits.ts'
import { verifyBlock } from '../verify/verified-bytes.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import { rawCid, varint } from './dag-pb.ts'

/** Where a block's bytes stand in the file. */
export interface BlockPlace {
  readonly offset: number
  readonly length: number
}

export interface CarFile {
  /** Appends the block unless it is there already. */
  readonly put: (cid: CID, bytes: Uint8Array) => Promise<BlockPlace>
  /** Reads a block back, verified against its CID. */
  readonly read: (cid: CID, place: BlockPlace) => Promise<VerifiedBytes>
  /** Names the roots, syncs and renames to the final path; as many roots as were announced. */
  readonly finish: (roots: readonly CID[]) => Promise<void>
  /** Removes what was written; harmless after `finish`. */
  readonly discard: () => Promise<void>
  readonly blocks: () => number
  readonly bytes: () => number
}

/** @throws ENVIRONMENT when the folder of `path` cannot be written. */
export async function createCar (path: string, rootCount: number): Promise<CarFile> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
  const file = await open(temporary, 'wx+', 0o644).catch((cause: unknown) => {
    throw new SnapshotterError('ENVIRONMENT', `cannot write a CAR in ${dirname(path)}: ${messageOf(cause)}`, {}, { cause })
  })
  try {
    const header = headerOf(Array.from({ length: rootCount }, () => rawCid(new Uint8Array())))
    await writeAll(file, header, 0)
    return new OpenCar(file, temporary, path, header.byteLength)
  } catch (error) {
    await file.close()
    await rm(temporary, { force: true })
    throw error
  }
}

class OpenCar implements CarFile {
  readonly #file: FileHandle
  readonly #temporary: string
  readonly #path: string
  readonly #places = new Map<string, BlockPlace>()
  #end: number
  #open = true

  constructor (file: FileHandle, temporary: string, path: string, end: number) {
    this.#file = file
    this.#temporary = temporary
    this.#path = path
    this.#end = end
    process.once('exit', this.#removeNow)
  }

  readonly put = async (cid: CID, bytes: Uint8Array): Promise<BlockPlace> => {
    const key = Buffer.from(cid.bytes).toString('latin1')
    const known = this.#places.get(key)
    if (known !== undefined) return known
    const prefix = Buffer.concat([varint(cid.bytes.byteLength + bytes.byteLength), cid.bytes])
    const place = { offset: this.#end + prefix.byteLength, length: bytes.byteLength }
    this.#places.set(key, place)
    this.#end = place.offset + place.length
    await writeAll(this.#file, prefix, place.offset - prefix.byteLength)
    await writeAll(this.#file, bytes, place.offset)
    return place
  }

  readonly read = async (cid: CID, place: BlockPlace): Promise<VerifiedBytes> => {
    const bytes = Buffer.allocUnsafeSlow(place.length)
    let got = 0
    while (got < place.length) {
      const { bytesRead } = await this.#file.read(bytes, got, place.length - got, place.offset + got)
      if (bytesRead === 0) throw new SnapshotterError('CAR_TRUNCATED', `${this.#temporary} ends at byte ${place.offset + got}`)
      got += bytesRead
    }
    return verifyBlock(cid, bytes, this.#path)
  }

  readonly finish = async (roots: readonly CID[]): Promise<void> => {
    await Car.updateRootsInFile(this.#file, [...roots])
    await this.#file.sync()
    await this.#file.close()
    this.#open = false
    await rename(this.#temporary, this.#path)
    process.off('exit', this.#removeNow)
    const folder = await open(dirname(this.#path))
    await folder.sync().finally(() => folder.close())
  }

  readonly discard = async (): Promise<void> => {
    if (this.#open) await this.#file.close()
    this.#open = false
    await rm(this.#temporary, { force: true })
    process.off('exit', this.#removeNow)
  }

  /** Whoever does not wait for `discard` leaves no file either. */
  readonly #removeNow = (): void => { rmSync(this.#temporary, { force: true }) }

  readonly blocks = (): number => this.#places.size
  readonly bytes = (): number => this.#end
}

function headerOf (roots: CID[]): Uint8Array {
  return createHeaderWriter(new ArrayBuffer(CAR_HEADER_BYTES_MAX), { roots }).close({ resize: true })
}

async function writeAll (file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  let done = 0
  while (done < bytes.byteLength) {
    const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, offset + done)
    done += bytesWritten
  }
}
