// Gzip members as pure functions of their bytes: equal input gives equal output whatever runs beside it. Large ones are
// compressed on libuv's threads, small ones here, where a trip to a thread would cost more than the work.
import { promisify } from 'node:util'
import { createGzip, gzip, gzipSync } from 'node:zlib'
import { PUBLISH_BYTES_IN_FLIGHT, PUBLISH_GZIP_HERE_BYTES } from '../base/limits.ts'
import { inOrder } from './in-order.ts'

const gzipOnThread = promisify<Buffer, { level: number, chunkSize: number }, Buffer>(gzip)

export interface Compression {
  /** zlib's 1 to 9. */
  readonly level: number
  /** Members under way at once; changes speed, not bytes. */
  readonly concurrency: number
}

// An engine for PUBLISH_GZIP_HERE_BYTES. The usual one takes 268 KB, which V8 counts as garbage: ten thousand of them are
// dozens of collections.
const SMALL = { windowBits: 13, memLevel: 7, chunkSize: PUBLISH_GZIP_HERE_BYTES }
const LARGE_OUTPUT_BYTES = 128 * 1024 // what most chunks need

export async function gzipMember (bytes: Buffer, level: number): Promise<Buffer> {
  return bytes.byteLength <= PUBLISH_GZIP_HERE_BYTES
    ? gzipSync(bytes, { level, ...SMALL })
    : await gzipOnThread(bytes, { level, chunkSize: Math.min(bytes.byteLength, LARGE_OUTPUT_BYTES) })
}

/** Each member compressed, in order. */
export function gzipMembers<Member extends { readonly bytes: Buffer }> (
  members: AsyncIterable<Member>, { level, concurrency }: Compression
): AsyncGenerator<{ readonly member: Member, readonly compressed: Buffer }, void, undefined> {
  return inOrder(members, async (member) => ({ member, compressed: await gzipMember(member.bytes, level) }), {
    itemsMax: concurrency,
    bytesMax: PUBLISH_BYTES_IN_FLIGHT,
    bytesOf: (member) => member.bytes.byteLength
  })
}

/** One member of any length, with flat memory. */
export async function * gzipStream (pieces: Iterable<Buffer>, level: number): AsyncGenerator<Buffer, void, undefined> {
  const engine = createGzip({ level })
  const feeding = (async () => {
    for (const piece of pieces) {
      await new Promise<void>((resolve, reject) => engine.write(piece, (error) => { if (error) reject(error); else resolve() }))
    }
    engine.end()
  })().catch((error: unknown) => { engine.destroy(error as Error) })
  for await (const bytes of engine) yield bytes as Buffer
  await feeding
}
