// Layers as publishers make them: eStargz (footer, TOC, its byte scanner), gzip members, tar, whole plain layers, and our own
// record of what was read.
import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import { isSnapshotterError, SnapshotterError } from '../../../src/base/errors.ts'
import { TOC_BYTES_MAX } from '../../../src/base/limits.ts'
import { buildErofs } from '../../../src/erofs/build-erofs.ts'
import { layoutData } from '../../../src/layer/data-layout.ts'
import { openEstargz } from '../../../src/layer/estargz.ts'
import { footerBytes, parseFooter } from '../../../src/layer/estargz-footer.ts'
import { inflateMembers } from '../../../src/layer/gzip-members.ts'
import { decodeIndex, encodeIndex } from '../../../src/layer/index-codec.ts'
import type { LayerIndex } from '../../../src/layer/layer-index.ts'
import { indexPlainLayer } from '../../../src/layer/plain-layer.ts'
import { readTar } from '../../../src/layer/tar-reader.ts'
import { decodeTocEntry } from '../../../src/layer/toc-entry.ts'
import { indexToc } from '../../../src/layer/toc-index.ts'
import { TocLineReader } from '../../../src/layer/toc-line.ts'
import { type JsonValue, parseStrictJson } from '../../../src/oci/strict-json.ts'
import { type Digest, digestOf } from '../../../src/verify/digest.ts'
import { type VerifiedBytes, verifyDigest } from '../../../src/verify/verified-bytes.ts'
import { estargz, type Item } from '../../layer/estargz-writer.ts'
import { entry, gnuLong, sum, tar } from '../../layer/tar-writer.ts'
import { asyncOutcomeOf, Broken, outcomeOf, same, shown, type Target } from '../target.ts'

const ITEMS: readonly Item[] = [
  { name: 'etc/', type: '5', mtime: 1_700_000_000 },
  { name: 'etc/hosts', data: 'x'.repeat(40), mode: 0o4755, uid: 3, gid: 4, mtime: 1_700_000_001 },
  { name: 'etc/link', type: '2', link: 'hosts' },
  { name: 'etc/hard', type: '1', link: 'etc/hosts' },
  { name: 'dev/null', type: '3', major: 1, minor: 3 },
  { name: 'etc/.wh.gone' },
  { name: 'opt/.wh..wh..opq' },
  { name: '.prefetch.landmark', data: '\x0f' },
  { name: 'pipe', type: '6', toc: { xattrs: { 'user.a': 'YQ==' }, modtime: '2020-02-29T23:59:59.123456789+01:30' } }
]
const TOC_TOKENS = [
  '"name"', '"type"', '"size"', '"modtime"', '"linkName"', '"mode"', '"uid"', '"gid"', '"userName"', '"groupName"', '"offset"', '"innerOffset"', '"devMajor"',
  '"devMinor"', '"xattrs"', '"digest"', '"chunkOffset"', '"chunkSize"', '"chunkDigest"', '"entries"', '"version"', '"dir"', '"reg"', '"symlink"', '"hardlink"',
  '"char"', '"block"', '"fifo"', '"chunk"', '":', ',', '{', '}', '[', ']', 'null', 'true', '\\u0000', '\\ud800', '"2020-01-01T00:00:00Z"', '"YQ=="', '.wh.', '..',
  '/', './', '\u00e9', '\u212a', '\u017f', 'e3', '.5', '"Name"', ' ', '\n', '\t', '.prefetch.landmark', 'trusted.overlay.opaque', 'stargz.index.json'
]

const seedTocs = (): Buffer[] => [
  Buffer.from(JSON.stringify(estargz(ITEMS).toc)), Buffer.from(JSON.stringify(estargz(ITEMS, { chunkBytes: 16, oneMember: true }).toc, null, '\t')),
  Buffer.from('{"version":1,"entries":null}'), Buffer.from('{"entries":[{"name":"a","type":"dir"}],"version":1}')
]

/** Bytes of one index, everything in it included; what it says must survive our own record, and EROFS must be able to show it. */
function used (index: LayerIndex): string {
  const record = encodeIndex(index)
  const again = decodeIndex(record)
  if (Buffer.compare(encodeIndex(again), record) !== 0) throw new Broken('the record of the index is not read back as it was written')
  if (shown(again) !== shown(index)) same('index', shown(again), shown(index))
  for (const form of ['two-devices', 'one-file'] as const) buildErofs(index, layoutData(index), { form, uuid: new Uint8Array(16) })
  return Buffer.from(record).toString('base64')
}

const anyDigest = digestOf(Buffer.from('toc'))

/** The byte scanner must change nothing: the same index, or the same refusal, as the parser alone. */
export function makeToc (): Target {
  const precise = (json: Uint8Array): JsonValue => {
    const entries: unknown[] = []
    const lines = new TocLineReader(json)
    const what = 'fuzz'
    parseStrictJson(json, {
      what,
      code: 'TOC_INVALID',
      bytesMax: TOC_BYTES_MAX,
      list: {
        key: 'entries',
        each: (value, position) => { entries.push(decodeTocEntry(value, what, position)) },
        usual: (at) => {
          const quick = lines.read(at)
          if (quick === null) return -1
          const text = Buffer.from(json).subarray(at, lines.end)
          const slow = decodeTocEntry(parseStrictJson(text, { what, code: 'TOC_INVALID', bytesMax: TOC_BYTES_MAX }), what, 0)
          same('entry', shown(quick), shown(slow))
          return lines.end
        }
      }
    })
    return entries.length
  }
  return {
    seeds: seedTocs(),
    tokens: TOC_TOKENS,
    run: (input) => {
      precise(input)
      used(indexToc(input, 1 << 20, anyDigest))
    }
  }
}

/** One entry alone, so that the scanner gets all of the attention. */
export function makeTocLine (): Target {
  const lines = seedTocs().flatMap((json) => (JSON.parse(json.toString()) as { entries: object[] | null }).entries ?? [])
  return {
    seeds: lines.flatMap((line) => [Buffer.from(JSON.stringify(line)), Buffer.from(JSON.stringify(line, null, ' '))]),
    tokens: TOC_TOKENS,
    bytesMax: 1024,
    run: (input) => {
      const reader = new TocLineReader(input)
      const quick = reader.read(0)
      const text = quick === null ? input : input.subarray(0, reader.end)
      const slow = (): unknown => decodeTocEntry(parseStrictJson(text, { what: 'fuzz', code: 'TOC_INVALID', bytesMax: 4096 }), 'fuzz', 0)
      if (quick !== null) same('entry', `value ${shown(quick)}`, outcomeOf(slow))
      else slow()
    }
  }
}

export function makeFooter (): Target {
  return {
    seeds: [Buffer.from(footerBytes(0)), Buffer.from(footerBytes(0x1234567)), Buffer.concat([Buffer.alloc(40, 1), footerBytes(40)]),
      estargz(ITEMS, { legacyFooter: true }).blob.subarray(-47)],
    tokens: ['STARGZ', 'SG\x16\x00', '0000000000000000', 'ffffffffffffffff', '001fffffffffffff', '\x1f\x8b\x08\x04'],
    bytesMax: 200,
    run: (input) => {
      const footer = parseFooter(input)
      if (footer === null) throw new SnapshotterError('TOC_INVALID', 'no footer')
      if (footer.size === 51) same('footer', shown(parseFooter(footerBytes(footer.tocOffset))), shown(footer))
      // A gzip member that holds nothing, whatever its header says about times.
      if (gunzipSync(input.subarray(-footer.size)).byteLength !== 0) throw new Broken('the footer is no empty member')
    }
  }
}

/** An input is the TOC's tar and, behind a NUL-free mark, what stands before it; the blob around it is made right. */
export function makeEstargz (): Target {
  const blobs = [estargz(ITEMS), estargz(ITEMS, { legacyFooter: true }), estargz(ITEMS, { chunkBytes: 16, oneMember: true })].map(({ blob }) => blob)
  return {
    seeds: blobs,
    tokens: ['STARGZ', 'SG\x16\x00', '\x1f\x8b\x08\x00', 'stargz.index.json', ...TOC_TOKENS.slice(0, 12)],
    repair: rewriteToc,
    run: async (input) => {
      const blob = { read: async (offset: number, length: number) => input.subarray(offset, offset + length) as unknown as VerifiedBytes }
      try {
        return used(await openEstargz(blob, input.byteLength, anyDigest))
      } catch (error) {
        if (!isSnapshotterError(error) || error.code !== 'DIGEST_MISMATCH') throw error
        return used(await openEstargz(blob, input.byteLength, error.details['got'] as Digest))
      }
    }
  }
}

/** Deflates what the mutation left of the TOC member's inflated bytes: the footer stays where it points. */
function rewriteToc (input: Buffer): Buffer {
  const footer = parseFooter(input)
  if (footer === null || footer.tocOffset >= input.byteLength) return input
  try {
    const inflated = gunzipSync(input.subarray(footer.tocOffset, input.byteLength - footer.size), { maxOutputLength: 1 << 16 })
    const at = inflated.byteLength > 700 ? 512 + (input[20] ?? 0) * 3 % (inflated.byteLength - 512) : 0
    inflated[at] = input[30] ?? 0
    return Buffer.concat([input.subarray(0, footer.tocOffset), gzipSync(repairTar(inflated)), input.subarray(input.byteLength - footer.size)])
  } catch {
    return input
  }
}

async function * pieces (bytes: Uint8Array, step: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += step) yield bytes.subarray(at, at + step)
}

/** The same bytes, members and places however the blob is cut; and gunzip's bytes where gunzip takes it. */
export function makeGzip (): Target {
  const small = gzipSync('small')
  const large = gzipSync(Buffer.alloc(70_000, 'large '))
  const fancy = Buffer.concat([Buffer.from('1f8b081e00000000000304000102030461620063640000', 'hex'), Buffer.from('00', 'hex'), small.subarray(10)])
  const inflated = async (input: Buffer, step: number): Promise<string> => {
    const hash = createHash('sha256')
    const members: number[] = []
    for await (const { bytes, member } of inflateMembers(pieces(input, step), 'fuzz')) {
      if (members.at(-1) !== member) members.push(member)
      hash.update(bytes)
    }
    return `${hash.digest('hex')} ${members.join()}`
  }
  return {
    seeds: [small, large, Buffer.concat([small, large, small, small]), fancy, Buffer.from(footerBytes(3)), gzipSync(''), gzipSync('stored'.repeat(9), { level: 0 })],
    tokens: [small, Buffer.from('1f8b0800000000000003', 'hex'), Buffer.from('010000ffff', 'hex'), Buffer.of(0x1f, 0x8b), Buffer.alloc(8), Buffer.of(3, 0)],
    batch: 15,
    run: async (input) => {
      const whole = await asyncOutcomeOf(async () => await inflated(input, input.byteLength + 1))
      same('cut', await asyncOutcomeOf(async () => await inflated(input, 1 + input.byteLength % 97)), whole)
      let reference: Buffer | null = null
      try {
        reference = gunzipSync(input, { maxOutputLength: 1 << 26 })
      } catch { /* it checks less and more */ }
      if (reference !== null && whole.startsWith('value')) same('bytes', whole.slice(7, 71), createHash('sha256').update(reference).digest('hex'))
      if (!whole.startsWith('value')) throw new SnapshotterError(whole as 'LAYER_INVALID', 'refused')
    }
  }
}

function tarSeeds (): Buffer[] {
  return [
    tar(...ITEMS.map((item) => entry(item.name, item))),
    tar(entry('a', { data: 'a', pax: { path: 'long/name', size: '1', mtime: '1.5', uid: '70000', 'SCHILY.xattr.user.x': 'v', linkpath: '' } })),
    tar(gnuLong('L', 'n'.repeat(120)), entry('short', { magic: 'ustar  \0', data: 'abc' }), gnuLong('K', 'target'), entry('l', { type: '2', magic: 'ustar  \0' })),
    tar(entry('s', { data: `2\n0\n1\n511\n1\n${'\0'.repeat(512 - 12)}ab`, pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '512', 'GNU.sparse.name': 'sparse' } })),
    tar(entry('s', { data: 'ab', pax: { 'GNU.sparse.map': '0,1,100,1', 'GNU.sparse.size': '200' } })),
    tar(entry('old', { type: 'S', magic: 'ustar  \0', data: 'abcd', patch: (block) => { block.write('00000000000\x0000000000004\0', 386); block.write('00000001000\0', 483) } })),
    tar(entry('g', { type: 'g', data: '11 a=bcdef\n' }), entry('deep/'.repeat(30), { type: '5', prefix: '' }))
  ]
}

const TAR_TOKENS = [
  'ustar\x0000', 'ustar  \0', '././@LongLink', 'GNU.sparse.map', 'GNU.sparse.major', 'GNU.sparse.minor', 'GNU.sparse.realsize', 'GNU.sparse.offset',
  'GNU.sparse.numbytes', 'SCHILY.xattr.', 'path=', 'size=', 'mtime=', 'linkpath=', 'uid=', '.wh..wh..opq', '.wh.', '../', '/', './', Buffer.of(0x80, 0, 0, 0, 0, 0, 0, 1),
  Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), '77777777777\0', '00000000000\0', '\n', '=', ' ', Buffer.alloc(512), 'trusted.overlay.redirect'
]

/** Right checksums, wherever a header may stand: at every block that is not all zeros. */
function repairTar (input: Buffer): Buffer {
  const fixed = Buffer.from(input)
  for (let at = 0; at + 512 <= fixed.byteLength; at += 512) {
    const block = fixed.subarray(at, at + 512)
    const isHeader = block.toString('latin1', 257, 262) === 'ustar' || /^[0-7]{5}/.test(block.toString('latin1', 100, 105))
    if (isHeader) sum(block)
  }
  return fixed
}

/** The same entries and data however the stream is cut. */
export function makeTar (): Target {
  const read = async (input: Buffer, step: number): Promise<string> => {
    const entries: unknown[] = []
    let data = createHash('sha256')
    let bytes = 0
    for await (const event of readTar(pieces(input, step), 'fuzz')) {
      if (event.kind === 'entry') {
        entries.push(bytes, data.digest('hex'), event.entry)
        data = createHash('sha256')
        bytes = 0
        continue
      }
      if (event.bytes.byteLength > 0 && Buffer.compare(event.bytes, input.subarray(event.tarOffset, event.tarOffset + event.bytes.byteLength)) !== 0) {
        throw new Broken(`data of ${event.tarOffset} is from elsewhere`)
      }
      data.update(event.bytes)
      bytes += event.bytes.byteLength
    }
    return shown([entries, bytes, data.digest('hex')])
  }
  return {
    seeds: tarSeeds(),
    tokens: TAR_TOKENS,
    repair: repairTar,
    run: async (input) => {
      const whole = await asyncOutcomeOf(async () => await read(input, input.byteLength + 1))
      same('cut', await asyncOutcomeOf(async () => await read(input, 1 + input.byteLength % 700)), whole)
      if (!whole.startsWith('value')) throw new SnapshotterError(whole as 'LAYER_INVALID', 'refused')
    }
  }
}

/** A whole layer, gzipped or not, with the digests that it has: what comes out can be kept and shown. */
export function makePlainLayer (): Target {
  return {
    seeds: [...tarSeeds(), ...tarSeeds().slice(0, 2).map((bytes) => gzipSync(bytes))],
    tokens: TAR_TOKENS,
    repair: repairTar,
    run: async (input) => {
      let inflated: Buffer = input
      try {
        if (input[0] === 0x1f && input[1] === 0x8b) inflated = gunzipSync(input, { maxOutputLength: 1 << 24 })
      } catch { /* it will be refused */ }
      const written = new Map<number, number>()
      const sink = {
        write: async (offset: number, bytes: Uint8Array) => { written.set(offset, bytes.byteLength) },
        move: async (from: number, to: number, length: number) => {
          if (to >= from || length <= 0 || ![from, to, length].every(Number.isSafeInteger)) throw new Broken(`move ${from} ${to} ${length}`)
        }
      }
      const digest = digestOf(input)
      verifyDigest(digest, input, 'fuzz')
      return used(await indexPlainLayer({
        stream: pieces(input, 4096), digest, size: input.byteLength, diffId: digestOf(inflated), mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', sink
      }))
    }
  }
}

/** A record that is taken is one that we would write. */
export function makeIndexRecord (): Target {
  const index = indexToc(seedTocs()[0] ?? Buffer.alloc(0), 1 << 20, anyDigest)
  return {
    seeds: [encodeIndex(index), encodeIndex({ ...index, inodes: index.inodes.slice(0, 1).map((inode) => ({ ...inode, entries: [] })), chunks: [] })],
    tokens: ['IPSNIDX1', Buffer.of(0x80), Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f), Buffer.alloc(32)],
    run: (input) => {
      if (Buffer.compare(encodeIndex(decodeIndex(input)), input) !== 0) throw new Broken('another record')
    }
  }
}
