// The decoders against the reference libraries, and against whatever a stranger may send.
import { describe, expect, test } from '@jest/globals'
import * as dagPb from '@ipld/dag-pb'
import fc from 'fast-check'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { isSnapshotterError } from '../../src/base/errors.ts'
import { keyOf } from '../../src/ipfs/block-key.ts'
import { CarParser } from '../../src/ipfs/car-parser.ts'
import { decodeDagPb } from '../../src/ipfs/dag-pb.ts'
import { decodeFileNode, decodeUnixfs } from '../../src/ipfs/unixfs-node.ts'
import { CODE_DAG_PB, rawCidOf } from '../../src/verify/cid.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { verifyBlock } from '../../src/verify/verified-bytes.ts'
import { carPieces, type DagBlock, varint } from '../fakes/gateway-dag.ts'

const someBytes = fc.uint8Array({ maxLength: 400 })

function rawBlock (bytes: Uint8Array): DagBlock {
  return { cid: rawCidOf(digestOf(bytes)), bytes }
}

function pbBlock (bytes: Uint8Array): DagBlock {
  return { cid: CID.createV1(CODE_DAG_PB, rawBlock(bytes).cid.multihash), bytes }
}

/** True when `work` returned; false when it refused in our own words; anything else is a defect. */
function accepts (work: () => unknown): boolean {
  try {
    work()
    return true
  } catch (error) {
    if (isSnapshotterError(error)) return false
    throw error
  }
}

describe('CAR streams', () => {
  interface Collected { readonly blocks: Map<string, Buffer>, readonly parser: CarParser }
  const collect = (car: Uint8Array, cuts: readonly number[], wanted: ReadonlySet<string> | null): Collected => {
    const blocks = new Map<string, Buffer>()
    const parser = new CarParser({
      wants: (key) => wanted === null || wanted.has(key),
      block: (key, bytes) => { blocks.set(key, Buffer.from(bytes)) }
    }, 'test')
    const places = [0, ...[...cuts].sort((a, b) => a - b).map((cut) => Math.min(cut, car.byteLength)), car.byteLength]
    for (const [index, place] of places.entries()) if (index > 0) parser.push(car.subarray(places[index - 1], place))
    return { blocks, parser }
  }

  test('give the same blocks however the network cuts them, and only the wanted ones', () => {
    const manyBlocks = fc.array(someBytes, { minLength: 1, maxLength: 8 })
    fc.assert(fc.property(manyBlocks, fc.array(fc.nat(4_000), { maxLength: 30 }), fc.nat(255), (contents, cuts, mask) => {
      const sent = contents.map(rawBlock)
      const car = Buffer.concat([...carPieces(rawCidOf(digestOf(new Uint8Array(0))), sent)])
      const wanted = new Set(sent.filter((_, index) => (mask >> index & 1) === 1).map(({ cid }) => keyOf(cid)))
      const { blocks, parser } = collect(car, cuts, wanted)
      expect(parser.whole).toBe(true)
      expect(new Set(blocks.keys())).toEqual(wanted)
      expect(parser.blocks + parser.dropped).toBe(sent.length)
      for (const { cid, bytes } of sent) if (wanted.has(keyOf(cid))) expect(blocks.get(keyOf(cid))?.equals(bytes)).toBe(true)
    }))
  })

  test('a cut anywhere is noticed', () => {
    const block = rawBlock(Buffer.from('some block'))
    const pieces = [...carPieces(block.cid, [block])]
    const car = Buffer.concat(pieces)
    for (let length = 0; length < car.byteLength; length++) {
      expect(collect(car.subarray(0, length), [], null).parser.whole).toBe(length === (pieces[0]?.byteLength ?? 0))
    }
  })

  const header = Buffer.concat([...carPieces(rawBlock(Buffer.alloc(0)).cid, [])])
  test.each<[string, Uint8Array, string]>([
    ['a web page', Buffer.from('<html><head><title>502 Bad Gateway</title>'.repeat(4)), 'has no CAR version 1 header'],
    ['a header of 1 MiB', varint(1 << 20), 'has a header of 1048576 bytes, limit 65536'],
    ['an empty header', Uint8Array.of(0), 'has a section of 0 bytes'],
    ['a CAR v2', Buffer.from('0aa16776657273696f6e02', 'hex'), 'has no CAR version 1 header'],
    ['a length that does not end', Uint8Array.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), 'has a length that does not end'],
    ['an empty section', Buffer.concat([header, Uint8Array.of(0)]), 'has a section of 0 bytes'],
    ['a section of 2 GiB', Buffer.concat([header, varint(2 ** 31)]), 'BLOCK_TOO_LARGE: CAR section from test of 2147483648 bytes, limit 2097408'],
    ['a section without a CID', Buffer.concat([header, varint(40), Buffer.alloc(40, 0xff)]), 'has a section that starts with no CID'],
    ['a section shorter than its CID', Buffer.concat([header, varint(6), Buffer.from('015512200000', 'hex')]), 'has a section that is shorter than its CID']
  ])('%s is refused', (_name, bytes, line) => {
    expect.assertions(1)
    try {
      collect(bytes, [], null)
    } catch (error) {
      expect((error as { line: string }).line).toBe(line.startsWith('has') ? `CAR_INVALID: CAR from test ${line}` : line)
    }
  })

  test('random bytes never make it fail in any other way', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
      accepts(() => collect(Buffer.concat([header, noise]), [], null))
      accepts(() => collect(noise, [], null))
    }), { numRuns: 500 })
  })
})

const arbitraryNode = fc.record({
  Data: fc.option(someBytes, { nil: undefined }),
  Links: fc.array(fc.record({
    name: fc.option(fc.string({ maxLength: 12 }), { nil: undefined }),
    size: fc.option(fc.nat(), { nil: undefined }),
    seed: fc.nat()
  }), { maxLength: 6 })
}).map(({ Data, Links }) => dagPb.prepare({
  ...Data === undefined ? {} : { Data },
  Links: Links.map(({ name, size, seed }) => ({
    Hash: rawCidOf(digestOf(Buffer.from(String(seed)))), ...name === undefined ? {} : { Name: name }, ...size === undefined ? {} : { Tsize: size }
  }))
}))

describe('dag-pb', () => {
  const ours = (bytes: Uint8Array): unknown => {
    const node = decodeDagPb(pbBlock(bytes).cid, bytes)
    return {
      data: node.data === null ? null : Buffer.from(node.data).toString('hex'),
      links: Array.from({ length: node.links }, (_, index) => [node.cid(index).toString(), node.name(index)])
    }
  }
  const reference = (bytes: Uint8Array): unknown => {
    const node = dagPb.decode(bytes)
    return {
      data: node.Data === undefined ? null : Buffer.from(node.Data).toString('hex'),
      links: node.Links.map((link) => [link.Hash.toString(), link.Name ?? ''])
    }
  }

  test('decodes like the reference', () => {
    fc.assert(fc.property(arbitraryNode, (node) => { expect(ours(dagPb.encode(node))).toEqual(reference(dagPb.encode(node))) }))
  })

  test('what it accepts of damaged nodes, the reference accepts with the same meaning', () => {
    fc.assert(fc.property(arbitraryNode, fc.nat(), fc.nat(255), fc.nat(), (node, at, byte, cut) => {
      const bytes = Buffer.from(dagPb.encode(node))
      if (bytes.byteLength > 0) bytes[at % bytes.byteLength] = byte
      for (const damaged of [bytes, bytes.subarray(0, cut % (bytes.byteLength + 1))]) {
        let got: unknown
        if (accepts(() => { got = ours(damaged) })) expect(got).toEqual(reference(damaged))
      }
    }), { numRuns: 1_000 })
  })

  test.each<[string, string, string]>([
    ['a field that is not in the spec', '1a00', 'field 3'],
    ['two data fields', '0a0161' + '0a0162', 'second Data'],
    ['a link without hash', '1202' + '1200', 'link without a hash'],
    ['a cut link', '120a0a24', 'longer than its message'],
    ['an endless length', '12ffffffffffffffffff', 'number over 2^53']
  ])('%s is refused', (_name, hex, why) => {
    const bytes = Buffer.from(hex, 'hex')
    expect(() => decodeDagPb(pbBlock(bytes).cid, bytes)).toThrow(why)
  })

  test('a node of more links than any writer makes is refused', () => {
    const Links = Array.from({ length: 16_385 }, () => ({ Hash: rawBlock(Buffer.from('x')).cid, Name: '', Tsize: 1 }))
    const bytes = dagPb.encode({ Links })
    expect(() => decodeDagPb(pbBlock(bytes).cid, bytes)).toThrow('has more than 16384 links')
  })
})

describe('UnixFS file nodes', () => {
  const child = rawBlock(Buffer.from('12345')).cid
  const decode = (data: Uint8Array, links: ReadonlyArray<{ Name: string }>): unknown => {
    const bytes = dagPb.encode({ Data: data, Links: links.map(({ Name }) => ({ Hash: child, Name, Tsize: 5 })) })
    const { cid } = pbBlock(bytes)
    return decodeFileNode(cid, verifyBlock(cid, bytes, 'test'))
  }
  const fileOf = (sizes: readonly number[], change: (file: UnixFS) => void = () => {}): Uint8Array => {
    const file = new UnixFS({ type: 'file', blockSizes: sizes.map(BigInt) })
    change(file)
    return file.marshal()
  }

  test('sizes become offsets', () => {
    expect(decode(fileOf([5, 5]), [{ Name: '' }, { Name: '' }])).toMatchObject({ size: 10, children: 2, starts: Float64Array.of(0, 5, 10) })
  })

  test.each<[string, () => unknown, string]>([
    ['fewer sizes than links', () => decode(fileOf([5]), [{ Name: '' }, { Name: '' }]), '2 links but 1 block sizes'],
    ['a named link', () => decode(fileOf([5]), [{ Name: 'x' }]), 'link 0 has a name'],
    ['a directory', () => decode(new UnixFS({ type: 'directory' }).marshal(), []), 'it is a directory, not a file'],
    ['a symlink', () => decode(new UnixFS({ type: 'symlink', data: Buffer.from('/etc') }).marshal(), []), 'it is a symlink, not a file'],
    ['a shard', () => decode(new UnixFS({ type: 'hamt-sharded-directory', fanout: 256n, hashType: 0x22n }).marshal(), []), 'it is a sharded directory'],
    ['a size that its parts do not have', () => decode(Buffer.from('080218092005', 'hex'), [{ Name: '' }]), 'it says 9 bytes, its parts have 5'],
    ['sizes past 2^53', () => decode(Buffer.from('0802' + '20ffffffffffffffff7f', 'hex'), [{ Name: '' }]), 'number over 2^53'],
    ['no type', () => decode(Buffer.alloc(0), []), 'no type'],
    ['a type from the future', () => decode(Buffer.from('0809', 'hex'), []), 'type 9']
  ])('%s is refused', (_name, work, why) => {
    expect(work).toThrow(why)
  })

  test('a node without UnixFS data is refused', () => {
    const bytes = dagPb.encode({ Links: [] })
    const { cid } = pbBlock(bytes)
    expect(() => decodeFileNode(cid, verifyBlock(cid, bytes, 'test'))).toThrow('carries no UnixFS data')
  })

  test('packed block sizes mean the same', () => {
    const bytes = dagPb.encode({ Data: Buffer.from('08022202050518' + '0a', 'hex'), Links: [] })
    const { cid } = pbBlock(bytes)
    expect(decodeUnixfs(cid, decodeDagPb(cid, bytes)).blockSizes).toEqual([5, 5])
  })

  test('random messages never make it fail in any other way', () => {
    fc.assert(fc.property(someBytes, (noise) => { accepts(() => decode(noise, [])) }), { numRuns: 1_000 })
  })
})
