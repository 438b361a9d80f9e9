// Writes an eStargz layer (stargz docs/estargz.md): the members of the tar, the table of contents as the tar's last
// entry in a member of its own, the end mark, and the 51-byte footer that points at the table. Same items, same bytes.
import { alignUp } from '../base/bytes.ts'
import { footerBytes } from '../layer/estargz-footer.ts'
import { TAR_BLOCK } from '../layer/tar-header.ts'
import { TOC_NAME } from '../layer/toc-index.ts'
import { type Digest, DigestStream } from '../verify/digest.ts'
import type { ByteSource } from './byte-source.ts'
import { type Item, MemberCutter, plainHeader } from './estargz-members.ts'
import { TocWriter } from './estargz-toc.ts'
import { type Compression, gzipMembers, gzipStream } from './gzip-members.ts'

export interface EstargzOptions extends Compression {
  /** Bytes of a file in one member. */
  readonly chunkBytes: number
  /** Uncompressed bytes that were taken since the last call. */
  readonly advance: (bytes: number) => void
}

/** Filled when the stream has ended. */
export interface EstargzFacts {
  diffId: Digest | null
  tocDigest: Digest | null
  uncompressedBytes: number
}

const TOC_LEVEL = 9

/** The blob's bytes; `facts` are complete when the last piece was taken. */
export async function * estargzStream (
  tar: ByteSource, items: AsyncIterable<Item>, options: EstargzOptions, facts: EstargzFacts
): AsyncGenerator<Buffer, void, undefined> {
  const cutter = new MemberCutter(tar, options.chunkBytes)
  const toc = new TocWriter()
  let position = 0
  for await (const { member, compressed } of gzipMembers(cutter.members(items), options)) {
    if (member.chunk !== null) member.chunk.offset = position
    toc.add(member.toc)
    position += compressed.byteLength
    options.advance(member.bytes.byteLength)
    yield compressed
  }
  yield * gzipStream(tocMember(toc.finish(), cutter.uncompressed, facts), TOC_LEVEL)
  facts.diffId = cutter.uncompressed.digest()
  facts.uncompressedBytes = cutter.uncompressed.bytes
  yield Buffer.from(footerBytes(position))
}

function * tocMember (pieces: readonly Buffer[], uncompressed: DigestStream, facts: EstargzFacts): Generator<Buffer, void, undefined> {
  const digest = new DigestStream()
  for (const piece of pieces) digest.update(piece)
  const padding = alignUp(digest.bytes, TAR_BLOCK) - digest.bytes
  const endMark = 2 * TAR_BLOCK
  for (const piece of [plainHeader(TOC_NAME, digest.bytes), ...pieces, Buffer.alloc(padding + endMark)]) {
    uncompressed.update(piece)
    yield piece
  }
  facts.tocDigest = digest.digest()
}
