// A process of its own, so that its peak memory can be measured: indexes a generated gzip layer (one member, one file)
// and prints one JSON line. Argument: bytes of the file.
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { indexPlainLayer } from '../../src/layer/plain-layer.ts'
import { parseDigest } from '../../src/verify/digest.ts'
import { header } from './tar-writer.ts'
import { verified } from './fixtures.ts'
import { peakMemoryKiB } from '../suites/peak-memory.ts'

const BLOCK = 32_768
const fileBytes = Number(process.argv[2])
const content = createHash('shake256', { outputLength: BLOCK }).update('content').digest()

function * tarBlocks (): Generator<Buffer> {
  yield header('big', { size: fileBytes })
  for (let at = 0; at < fileBytes; at += BLOCK) yield content
  yield Buffer.alloc(1024)
}

/** Stored blocks: valid deflate data that costs nothing to make. */
function * gzipBlocks (): Generator<Buffer> {
  let crc = 0
  let length = 0
  yield Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])
  for (const block of tarBlocks()) {
    const head = Buffer.from([0, 0, 0, 0, 0])
    head.writeUInt16LE(block.byteLength, 1)
    head.writeUInt16LE(~block.byteLength & 0xffff, 3)
    crc = crc32(block, crc)
    length += block.byteLength
    yield Buffer.concat([head, block])
  }
  const end = Buffer.from([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0])
  end.writeUInt32LE(crc, 5)
  end.writeUInt32LE(length % 2 ** 32, 9)
  yield end
}

const blobHash = createHash('sha256')
const tarHash = createHash('sha256')
let size = 0
for (const block of tarBlocks()) tarHash.update(block)
for (const block of gzipBlocks()) {
  blobHash.update(block)
  size += block.byteLength
}

let stored = 0
const index = await indexPlainLayer({
  stream: (async function * () { for (const block of gzipBlocks()) yield verified(block) })(),
  digest: parseDigest(`sha256:${blobHash.digest('hex')}`),
  diffId: parseDigest(`sha256:${tarHash.digest('hex')}`),
  size,
  mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
  sink: { write: async (_offset, bytes) => { stored += bytes.byteLength }, move: async () => {} }
})
process.stdout.write(JSON.stringify({ stored, chunks: index.chunks.length, maxRssMiB: peakMemoryKiB() / 1024 }))
