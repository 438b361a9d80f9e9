// Bytes on disk that can be read at any offset: a whole file, or the part of an archive that is one member. Promises
// flat memory (pieces of at most 256 KiB); refuses a file that ends before its size says so.
import { randomUUID } from 'node:crypto'
import { readSync } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { SnapshotterError } from '../base/errors.ts'
import { PUBLISH_READ_BYTES } from '../base/limits.ts'

export interface ByteSource {
  /** Names the bytes in messages. */
  readonly name: string
  readonly size: number
  /** Fills `target` with the bytes from `offset` on. @throws LAYER_INVALID past the end. */
  readonly fill: (target: Uint8Array, offset: number) => Promise<void>
  /** Exactly `length` bytes, in fresh memory. @throws LAYER_INVALID past the end. */
  readonly read: (offset: number, length: number) => Promise<Buffer>
  /** The bytes in order, all of them or `length` from `offset` on; each piece is fresh memory. */
  readonly stream: (offset?: number, length?: number) => AsyncGenerator<Buffer, void, undefined>
}

/**
 * The bytes [start, start + size) of an open file, which stays the caller's to close. Reads are calls on this thread: they
 * are small, mostly of what was just written, and a trip to another thread costs ten times as much.
 */
export function fileSlice (file: FileHandle, name: string, start: number, size: number): ByteSource {
  const fill = async (target: Uint8Array, offset: number): Promise<void> => {
    const length = target.byteLength
    if (offset < 0 || offset + length > size) throw endsEarly(name, offset + length, size)
    for (let got = 0; got < length;) {
      const bytesRead = readSync(file.fd, target, got, length - got, start + offset + got)
      if (bytesRead === 0) throw endsEarly(name, offset + length, offset + got)
      got += bytesRead
    }
  }
  return byteSource(name, size, fill)
}

/** The other ways to read, made from one. */
export function byteSource (name: string, size: number, fill: ByteSource['fill']): ByteSource {
  const read = async (offset: number, length: number): Promise<Buffer> => {
    const buffer = Buffer.allocUnsafeSlow(length)
    await fill(buffer, offset)
    return buffer
  }
  const stream = async function * (offset = 0, length = size - offset): AsyncGenerator<Buffer, void, undefined> {
    for (let at = 0; at < length; at += PUBLISH_READ_BYTES) yield await read(offset + at, Math.min(PUBLISH_READ_BYTES, length - at))
  }
  return { name, size, fill, read, stream }
}

/** A file without a name: gone when it is closed, also when the process is killed. */
export async function openNameless (besidePath: string): Promise<FileHandle> {
  const path = `${dirname(besidePath)}/.ipfs-snapshotter-${randomUUID()}`
  const file = await open(path, 'wx+', 0o600)
  await unlink(path)
  return file
}

export function endsEarly (name: string, wanted: number, size: number): SnapshotterError {
  return new SnapshotterError('LAYER_INVALID', `${name} ends at byte ${size}, ${wanted} are needed`)
}
