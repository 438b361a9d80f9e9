// Kubo's commands that write: files, blocks and CARs that are sent become blocks of this node, pins say what stays of them.
// Nothing is answered before it is on the disk. Shapes: kubo core/commands/{add,block,dag/import,pin}.go.
import type { ServerResponse } from 'node:http'
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { FILE_LEAF_BYTES, FILE_LINKS } from '../base/limits.ts'
import { sendJson, sendLines } from './kubo-answers.ts'
import { KuboOptions } from './kubo-options.ts'
import { type KuboRequest, readKuboCids } from './kubo-request.ts'
import type { Part } from './multipart.ts'

export interface AddOptions {
  readonly version: 0 | 1
  readonly rawLeaves: boolean
  readonly leafBytes: number
  /** Of a node. */
  readonly links: number
  readonly pin: boolean
  /** All of it in one more directory. */
  readonly wrap: boolean
  /** Nothing is stored. */
  readonly onlyHash: boolean
}

export interface AddedEntry {
  /** Its path, empty for a file without a name. */
  readonly name: string
  readonly cid: CID
  /** With everything below it, blocks that are there twice counted twice. */
  readonly size: number
  /** Of a file; null for a directory. */
  readonly fileBytes: number | null
}

export interface BlockOptions {
  /** What its bytes are called. */
  readonly codec: 'raw' | 'dag-pb' | 'v0'
  readonly pin: boolean
}

export interface ImportedCars {
  /** Each with what hindered its pin; none when none was asked for. */
  readonly roots: ReadonlyArray<{ readonly cid: CID, readonly failure: string }>
  readonly blocks: number
  readonly bytes: number
}

export interface Pinned {
  readonly cid: CID
  /** The root of the pin that holds it; null for a pin itself. */
  readonly via: CID | null
}

/** Signals are those of the client's going. */
export interface KuboWrites {
  readonly add: (files: AsyncIterable<Part>, options: AddOptions, signal: AbortSignal) => Promise<AddedEntry[]>
  readonly putBlocks: (blocks: AsyncIterable<Part>, options: BlockOptions, signal: AbortSignal) => Promise<Array<{ readonly cid: CID, readonly size: number }>>
  readonly importCars: (cars: AsyncIterable<Part>, pinRoots: boolean, signal: AbortSignal) => Promise<ImportedCars>
  readonly pin: (cids: readonly CID[]) => Promise<void>
  /** @throws FAILED_PRECONDITION for what is not pinned; nothing is unpinned then */
  readonly unpin: (cids: readonly CID[]) => Promise<void>
  readonly pins: () => Promise<CID[]>
  /** Pins and all that they hold, each once. */
  readonly held: () => Promise<Pinned[]>
}

export interface WriteCall {
  readonly request: KuboRequest
  readonly response: ServerResponse
  readonly writes: KuboWrites
  readonly signal: AbortSignal
  /** What was sent. */
  readonly parts: () => AsyncIterable<Part>
}

type Command = (call: WriteCall) => Promise<void>

/** They take a body. */
export const UPLOADS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['add', async ({ request, response, writes, signal, parts }) => {
    const options = new KuboOptions(request, ['cid-version', 'raw-leaves', 'chunker', 'hash', 'pin', 'progress', 'silent', 'wrap-with-directory', 'only-hash',
      'empty-dirs'])
    options.choice('hash', ['sha2-256'])
    options.choice('empty-dirs', ['true', '1'])
    const version = options.choice('cid-version', ['0', '1']) === '1' ? 1 : 0
    const added = await writes.add(parts(), {
      version,
      rawLeaves: options.flag('raw-leaves', version === 1),
      leafBytes: options.chunker(FILE_LEAF_BYTES),
      links: FILE_LINKS,
      pin: options.flag('pin', true),
      wrap: options.flag('wrap-with-directory', false),
      onlyHash: options.flag('only-hash', false)
    }, signal)
    sendLines(response, options.flag('silent', false) ? [] : added.flatMap((entry) => addedLines(entry, options.flag('progress', false))))
  }],
  ['block/put', async ({ request, response, writes, signal, parts }) => {
    const options = new KuboOptions(request, ['cid-codec', 'format', 'mhtype', 'mhlen', 'pin'])
    options.choice('mhtype', ['sha2-256'])
    options.choice('mhlen', ['-1', '32'])
    const format = options.choice('format', ['', 'v0', 'raw', 'protobuf', 'dag-pb'])
    const codec = format === '' ? options.choice('cid-codec', ['raw', 'dag-pb']) : format === 'protobuf' ? 'dag-pb' : format
    const blocks = await writes.putBlocks(parts(), { codec, pin: options.flag('pin', false) }, signal)
    sendLines(response, blocks.map(({ cid, size }) => ({ Key: cid.toString(), Size: size })))
  }],
  ['dag/import', async ({ request, response, writes, signal, parts }) => {
    const options = new KuboOptions(request, ['pin-roots', 'local-only', 'stats', 'silent'])
    const { roots, blocks, bytes } = await writes.importCars(parts(), options.flag('pin-roots', !options.flag('local-only', false)), signal)
    const lines = roots.map(({ cid, failure }) => ({ Root: { Cid: { '/': cid.toString() }, PinErrorMsg: failure } }))
    sendLines(response, [...lines, ...options.flag('stats', false) ? [{ Stats: { BlockCount: blocks, BlockBytesCount: bytes } }] : []])
  }]
])

/** They take CIDs. */
export const PINNING: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['pin/add', async ({ request, response, writes }) => {
    const options = new KuboOptions(request, ['progress', 'stream'])
    requireRecursive(request, options)
    const cids = readKuboCids(request)
    await writes.pin(cids)
    sendJson(response, { Pins: cids.map(String) })
  }],
  ['pin/rm', async ({ request, response, writes }) => {
    const options = new KuboOptions(request, [])
    requireRecursive(request, options)
    const cids = readKuboCids(request)
    await writes.unpin(cids)
    sendJson(response, { Pins: cids.map(String) })
  }],
  ['pin/ls', async ({ request, response, writes }) => {
    const options = new KuboOptions(request, ['type', 'stream', 'names'])
    const type = options.choice('type', ['all', 'recursive', 'indirect', 'direct'])
    const asked = request.query.has('arg') ? readKuboCids(request) : null
    const pins = (await writes.pins()).map((cid) => ({ cid, via: null }))
    const isEnough = type === 'recursive' || (asked?.every((cid) => pins.some((pin) => isSame(pin.cid, cid))) ?? false)
    const held = (isEnough ? pins : type === 'direct' ? [] : await writes.held())
      .filter(({ via }) => type === 'all' || (via === null) === (type === 'recursive'))
    const found = asked?.map((cid) => pinOf(held, cid, type)) ?? held
    const entries = found.map(({ cid, via }) => ({ Cid: cid.toString(), Type: typeOf(via, asked !== null), Name: '' }))
    if (options.flag('stream', false)) sendLines(response, entries)
    else sendJson(response, { Keys: Object.fromEntries(entries.map(({ Cid, Type, Name }) => [Cid, { Type, Name }])) })
  }]
])

function addedLines ({ name, cid, size, fileBytes }: AddedEntry, progress: boolean): object[] {
  const hash = cid.toString()
  const Name = name === '' && fileBytes !== null ? hash : name
  // The whole file at once: by then it is stored.
  return [...progress && fileBytes !== null ? [{ Name, Bytes: fileBytes }] : [], { Name, Hash: hash, Size: `${size}` }]
}

function requireRecursive ({ command }: KuboRequest, options: KuboOptions): void {
  if (!options.flag('recursive', true)) throw new SnapshotterError('UNSUPPORTED', `${command}: a pin holds all below its root (recursive=true)`)
}

function pinOf (held: readonly Pinned[], cid: CID, type: string): Pinned {
  const found = held.find((pin) => isSame(pin.cid, cid))
  if (found === undefined) throw new SnapshotterError('FAILED_PRECONDITION', `${cid.toString()} is not pinned${type === 'all' ? '' : ` (${type})`}`)
  return found
}

function typeOf (via: CID | null, isAsked: boolean): string {
  if (via === null) return 'recursive'
  return isAsked ? `indirect through ${via.toString()}` : 'indirect'
}

function isSame (one: CID, other: CID): boolean {
  return one.toV1().equals(other.toV1())
}
