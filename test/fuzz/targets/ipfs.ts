// What comes from gateways and publishers: CAR streams and files, dag-pb nodes, UnixFS files and directories, sharded ones too.
import type { FileHandle } from 'node:fs/promises'
import { CarReader } from '@ipld/car'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagJson from '@ipld/dag-json'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { hasCode, isSnapshotterError } from '../../../src/base/errors.ts'
import { childrenOf, readNode } from '../../../src/http/gateway-node.ts'
import { keyOf } from '../../../src/ipfs/block-key.ts'
import { CarParser } from '../../../src/ipfs/car-parser.ts'
import { scanCar } from '../../../src/ipfs/car-scan.ts'
import { decodeDagPb } from '../../../src/ipfs/dag-pb.ts'
import { decodeFileNode, decodeUnixfs } from '../../../src/ipfs/unixfs-node.ts'
import { CODE_DAG_PB, rawCidOf } from '../../../src/verify/cid.ts'
import { digestOf } from '../../../src/verify/digest.ts'
import { verifyBlock } from '../../../src/verify/verified-bytes.ts'
import { carPieces, type DagBlock } from '../../fakes/gateway-dag.ts'
import { same, shown, type Target } from '../target.ts'

const someCid = rawCidOf(digestOf(Buffer.from('some')))
const nodeCid = CID.createV1(CODE_DAG_PB, someCid.multihash)

function carSeeds (): Buffer[] {
  const blocks: DagBlock[] = ['one', 'two', ''].map((text) => ({ cid: rawCidOf(digestOf(Buffer.from(text))), bytes: Buffer.from(text) }))
  const v0 = CID.createV0(someCid.multihash as Parameters<typeof CID.createV0>[0])
  const identity = CID.createV1(0x55, { code: 0, size: 3, bytes: Uint8Array.of(0, 3, 1, 2, 3), digest: Uint8Array.of(1, 2, 3) })
  const odd: DagBlock[] = [{ cid: v0, bytes: Buffer.alloc(300, 7) }, { cid: identity, bytes: Buffer.of(1, 2, 3) }]
  return [blocks, odd, [...blocks, ...odd], []].map((list) => Buffer.concat([...carPieces(someCid, list)]))
}

const CAR_TOKENS = [
  Buffer.from([0x67, ...Buffer.from('version'), 1]), Buffer.from([0x01, 0x55, 0x12, 0x20]), Buffer.from([0x12, 0x20]), Buffer.from([0x01, 0x70, 0x12, 0x20]),
  Buffer.from([1, 0x55, 0, 0]), Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]), Buffer.from([0x81, 0x80, 0x80, 0x01]), Buffer.from([0x80, 0x80, 0]), 'roots', '\xa2'
]

function parsed (car: Uint8Array, step: number): string {
  const blocks: Array<[string, Uint8Array]> = []
  const parser = new CarParser({ wants: (key) => key.length % 2 === 0 || key.length > 40, block: (key, bytes) => { blocks.push([key, bytes]) } }, 'fuzz')
  let failure = ''
  try {
    for (let at = 0; at < car.byteLength; at += step) parser.push(car.subarray(at, at + step))
  } catch (error) {
    if (!isSnapshotterError(error)) throw error
    failure = error.line
  }
  return shown([failure, failure === '' && parser.whole, blocks])
}

/** What the reference reader finds; null when it refuses. */
async function referenceBlocks (car: Uint8Array): Promise<Array<{ readonly key: string, readonly bytes: Uint8Array }> | null> {
  try {
    const reader = await CarReader.fromBytes(car)
    return reader.version === 1 ? reader._blocks.map(({ cid, bytes }) => ({ key: keyOf(cid), bytes })) : null
  } catch {
    return null
  }
}

/** The same blocks however the network cuts the stream; and those that @ipld/car finds in what we take as whole. */
export function makeCarStream (): Target {
  return {
    seeds: carSeeds(),
    tokens: CAR_TOKENS,
    run: async (input) => {
      const whole = parsed(input, input.byteLength + 1)
      same('cut into bytes', parsed(input, 1), whole)
      same('cut into sevens', parsed(input, 7), whole)
      const found: Array<{ key: string, bytes: Uint8Array }> = []
      const parser = new CarParser({ wants: () => true, block: (key, bytes) => { found.push({ key, bytes }) } }, 'fuzz')
      parser.push(input)
      const reference = parser.whole ? await referenceBlocks(input) : null
      if (reference !== null) same('blocks', shown(found), shown(reference))
    }
  }
}

export function makeCarFile (): Target {
  return {
    seeds: carSeeds(),
    tokens: CAR_TOKENS,
    run: async (input) => {
      const read = async (into: Buffer, at: number, length: number, position: number): Promise<{ bytesRead: number }> =>
        ({ bytesRead: input.copy(into, at, position, Math.min(input.byteLength, position + length)) })
      const found: Array<{ readonly digest: Uint8Array, readonly bytes: Uint8Array }> = []
      const roots = await scanCar({ handle: { read } as unknown as FileHandle, path: 'fuzz.car', size: input.byteLength }, ({ digest, offset, length }) => {
        found.push({ digest: Buffer.from(digest), bytes: input.subarray(offset, offset + length) })
      })
      const reader = await CarReader.fromBytes(input).catch(() => null)
      if (reader === null) return
      same('roots', roots.join(), (await reader.getRoots()).join())
      same('blocks', shown(found), shown(reader._blocks.map(({ cid, bytes }) => ({ digest: cid.multihash.digest, bytes }))))
    }
  }
}

function nodeSeeds (): Uint8Array[] {
  const file = new UnixFS({ type: 'file', data: Buffer.from('inline'), blockSizes: [5n, 300n] })
  const links = [{ Hash: someCid, Name: '', Tsize: 5 }, { Hash: nodeCid, Name: '', Tsize: 400 }]
  return [
    dagPb.encode({ Data: file.marshal(), Links: links }),
    dagPb.encode({ Data: new UnixFS({ type: 'file', data: Buffer.from('whole'), mtime: { secs: 5n, nsecs: 7 }, mode: 0o644 }).marshal(), Links: [] }),
    dagPb.encode(dagPb.prepare({ Data: new UnixFS({ type: 'directory' }).marshal(), Links: [{ Hash: someCid, Name: 'a', Tsize: 5 }, { Hash: nodeCid, Name: 'b' }] })),
    dagPb.encode({ Data: new UnixFS({ type: 'hamt-sharded-directory', data: Buffer.of(3), fanout: 256n, hashType: 0x22n }).marshal(), Links: [] }),
    dagPb.encode({ Data: new UnixFS({ type: 'symlink', data: Buffer.from('to') }).marshal(), Links: [] }),
    dagPb.encode({ Links: links }),
    Buffer.from([0x0a, 0x0a, 0x08, 0x02, 0x22, 0x02, 0x05, 0x06, 0x18, 0x0b, 0x28, 0x22]) // packed block sizes, a hash type
  ]
}

const NODE_TOKENS = [
  Buffer.of(0x12, 0x2a, 0x0a, 0x24, 1, 0x55, 0x12, 0x20), Buffer.of(0x0a), Buffer.of(0x12), Buffer.of(0x18), Buffer.of(0x08, 5), Buffer.of(0x08, 2), Buffer.of(0x30, 8),
  Buffer.of(0x28, 0x22), Buffer.of(0x22, 2, 1, 1), Buffer.of(0x20), Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f), Buffer.of(0x12, 0), Buffer.of(0x1a, 0)
]

/** What we take, @ipld/dag-pb takes and reads alike. Numbers past 2^53 in Tsize, which we skip, and what it alone checks, aside. */
export function makeDagPb (): Target {
  return {
    seeds: nodeSeeds(),
    tokens: NODE_TOKENS,
    run: (input) => {
      const node = decodeDagPb(nodeCid, input)
      const ours: unknown[] = []
      for (let link = 0; link < node.links; link++) ours.push([node.anyCid(link).toString(), node.nameBytes(link)])
      let reference: dagPb.PBNode
      try {
        reference = dagPb.decode(input)
      } catch {
        return
      }
      same('data', shown(node.data), shown(reference.Data ?? null))
      same('links', shown(ours.map((link) => (link as unknown[])[0])), shown(reference.Links.map(({ Hash }) => Hash.toString())))
      for (let link = 0; link < node.links; link++) node.name(link)
      for (let link = 0; link < node.links; link++) node.cid(link)
    }
  }
}

/** A block of a file; and what ipfs-unixfs makes of the same message, where it is spelled as ipfs-unixfs spells it. */
export function makeUnixfs (): Target {
  return {
    seeds: nodeSeeds(),
    tokens: NODE_TOKENS,
    run: (input) => {
      const cid = CID.createV1(CODE_DAG_PB, rawCidOf(digestOf(input)).multihash)
      const node = decodeDagPb(cid, input)
      const message = decodeUnixfs(cid, node)
      let reference: UnixFS | null = null
      try {
        reference = UnixFS.unmarshal(node.data ?? new Uint8Array(0))
      } catch { /* it knows fewer spellings */ }
      if (reference !== null && message.kind === 'file' && Buffer.compare(reference.marshal(), node.data ?? Buffer.alloc(0)) === 0) {
        same('data', shown(message.data), shown(reference.data ?? new Uint8Array(0)))
        same('sizes', shown(message.blockSizes), shown(reference.blockSizes.map(Number)))
      }
      const file = decodeFileNode(cid, verifyBlock(cid, input, 'fuzz'))
      for (let child = 0; child < file.children; child++) {
        try {
          file.cid(child)
        } catch (error) {
          if (!hasCode(error, 'BLOCK_INVALID', 'CID_UNSUPPORTED')) throw error
        }
      }
    }
  }
}

const CODECS = [0x55, CODE_DAG_PB, dagCbor.code, dagJson.code, 0x0200]

/** Blocks that the gateway walks through, by the codec that the first byte chooses: links as the reference libraries find them. */
export function makeGatewayNode (): Target {
  const document = { a: [someCid, { b: nodeCid, c: null }], d: 'text', e: Buffer.of(1, 2), f: 1.5, g: -7 }
  const block = (codec: number, bytes: Uint8Array): Buffer => Buffer.concat([Buffer.of(codec), bytes])
  return {
    seeds: [block(2, dagCbor.encode(document)), block(3, dagJson.encode(document)), ...nodeSeeds().map((bytes) => block(1, bytes)), block(0, Buffer.from('raw'))],
    tokens: [Buffer.of(0xd8, 0x2a, 0x58, 0x25, 0), Buffer.of(0xa1, 0x61, 0x61), Buffer.of(0x82), Buffer.of(0x9b, 0xff, 0xff), Buffer.of(0xbf), Buffer.of(0xf6), '{"/":"', '"}', '{"/":{"bytes":', '[', ']',
      '":', ...NODE_TOKENS.slice(0, 6)],
    run: (input) => {
      const bytes = input.subarray(1)
      const cid = CID.createV1(CODECS[(input[0] ?? 0) % CODECS.length] ?? 0, rawCidOf(digestOf(bytes)).multihash)
      const node = readNode(cid, bytes as unknown as Parameters<typeof readNode>[1])
      if (node.kind === 'document') same('links', shown([...childrenOf(node)].map(String).sort()), shown(referenceLinks(cid.code, bytes) ?? [...childrenOf(node)].map(String).sort()))
      else for (const child of childrenOf(node)) child.toString()
    }
  }
}

/** Null when the reference library refuses the document. */
function referenceLinks (codec: number, bytes: Uint8Array): string[] | null {
  const found: string[] = []
  const collect = (value: unknown): void => {
    const link = CID.asCID(value)
    if (link !== null) found.push(link.toString())
    else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) for (const part of Object.values(value)) collect(part)
  }
  try {
    collect(codec === dagCbor.code ? dagCbor.decode(bytes) : dagJson.decode(bytes))
    return found.sort()
  } catch {
    return null
  }
}
