// CARv1 framing of verified blocks (CARv1 spec: varint(len) | header, then varint(len) | CID | block for each).
import { createWriter, headerLength } from '@ipld/car/buffer-writer'
import { varint } from 'multiformats'
import type { CID } from 'multiformats/cid'
import type { CarBlock } from './gateway-walk.ts'

const COPY_BYTES_MAX = 16 * 1024 // below it one write of a copy is cheaper than two

export async function * carStream (root: CID, blocks: AsyncIterable<CarBlock>): AsyncGenerator<Uint8Array> {
  yield carHeader(root)
  for await (const { cid, bytes } of blocks) {
    const head = sectionHead(cid, bytes.byteLength)
    if (bytes.byteLength <= COPY_BYTES_MAX) {
      yield Buffer.concat([head, bytes])
    } else {
      yield head
      yield bytes
    }
  }
}

export function carHeader (root: CID): Uint8Array {
  const writer = createWriter(new ArrayBuffer(headerLength({ roots: [root] })), { roots: [root] })
  return writer.close()
}

function sectionHead (cid: CID, blockBytes: number): Uint8Array {
  const length = cid.bytes.byteLength + blockBytes
  const size = varint.encodingLength(length)
  const head = new Uint8Array(size + cid.bytes.byteLength)
  varint.encodeTo(length, head)
  head.set(cid.bytes, size)
  return head
}
