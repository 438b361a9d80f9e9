// What we keep of a layer between runs: `<root>/layers/<key>/` holds `record` (its index and where its blob is, sealed),
// `verdict` (what the proof of the whole layer found, sealed), `data` and `present` (file bytes, written by the data plane
// or by the pass over a plain layer). Nothing in there is believed: records and verdicts open under the seal, data is
// hashed on every read by whoever serves it.
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { syncFolder } from '../base/disk.ts'
import { asSnapshotterError, type ErrorCode, SnapshotterError, systemCode } from '../base/errors.ts'
import { LAYER_RECORD_BYTES_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { decodeIndex } from '../layer/index-codec.ts'
import type { LayerIndex } from '../layer/layer-index.ts'
import { recordOf } from '../layer/packed-index.ts'
import { parseCid } from '../verify/cid.ts'
import { type Digest, parseDigest } from '../verify/digest.ts'
import { type Seal, writeDurably } from './seal.ts'

const RECORD_KIND = 'layer record 1'
const VERDICT_KIND = 'layer verdict 1'
const RECORD = 'record'
const VERDICT = 'verdict'
const KEY = /^[0-9a-f]{64}$/

/** What names a layer's bytes, the way they are read, and where they come from: a wrong blob must not spoil a right one's cache. */
export interface LayerIdentity {
  readonly cid: CID
  readonly digest: Digest
  readonly diffId: Digest
  /** Of an eStargz layer, from the manifest; null for a plain one. */
  readonly tocDigest: Digest | null
}

export interface LayerRecord extends LayerIdentity {
  /** Bytes of the blob. */
  readonly size: number
  readonly mediaType: string
  readonly index: LayerIndex
}

/** What one pass over the whole blob found: null when layer digest, diffID and TOC agree, else the error's line. */
export interface LayerVerdict {
  readonly lie: { readonly code: ErrorCode, readonly message: string } | null
}

interface StoredHead {
  readonly digest: string
  readonly diffId: string
  readonly tocDigest: string | null
  readonly cid: string
  readonly size: number
  readonly mediaType: string
}

/** The folder name of a layer: everything that decides its index and data layout goes into it. */
export function layerKey (layer: LayerIdentity): string {
  return createHash('sha256').update(`${layer.digest} ${layer.diffId} ${layer.tocDigest ?? 'plain'} ${layer.cid.toString()}`).digest('hex')
}

export class LayerStore {
  readonly #folder: string
  readonly #seal: Seal
  readonly #log: Log

  constructor (options: { readonly root: string, readonly seal: Seal, readonly log: Log }) {
    this.#folder = join(options.root, 'layers')
    this.#seal = options.seal
    this.#log = options.log
  }

  /** Removes what an earlier run was killed over: half-made layers, and data that no record speaks for. */
  async open (): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    for (const name of await readdir(this.#folder)) {
      const files = KEY.test(name) ? await readdir(this.folderOf(name)) : []
      if (files.includes(RECORD)) {
        for (const half of files.filter((file) => file.includes('.new-'))) await rm(join(this.#folder, name, half), { force: true })
      } else {
        await rm(join(this.#folder, name), { recursive: true, force: true })
      }
    }
  }

  /** Where the data plane keeps the layer's bytes. */
  folderOf (key: string): string {
    return join(this.#folder, key)
  }

  /** The record of `key`, or null when there is none or what is there does not carry our seal (it is discarded then). */
  async load (key: string): Promise<LayerRecord | null> {
    const path = join(this.folderOf(key), RECORD)
    try {
      const { size } = await stat(path)
      if (size > LAYER_RECORD_BYTES_MAX) throw new SnapshotterError('STATE_INVALID', `layer record ${key} has ${size} bytes`)
      return decodeRecord(this.#seal.open(RECORD_KIND, key, await readFile(path)))
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null
      // Whatever the disk did to it (other bytes, a folder in its place, EIO): the layer is opened anew.
      this.#log.warn({ key, error: asSnapshotterError(error).line }, 'layer record discarded')
      await this.discard(key)
      return null
    }
  }

  /** After this the layer survives restarts and power loss. */
  async save (record: LayerRecord): Promise<string> {
    const key = layerKey(record)
    const folder = this.folderOf(key)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await writeDurably(join(folder, RECORD), this.#seal.seal(RECORD_KIND, key, encodeRecord(record)))
    await syncFolder(this.#folder)
    return key
  }

  /** Null when the layer was not judged yet, or what is there does not carry our seal: it is judged again then. */
  async loadVerdict (key: string): Promise<LayerVerdict | null> {
    try {
      const bytes = this.#seal.open(VERDICT_KIND, key, await readFile(join(this.folderOf(key), VERDICT)))
      return JSON.parse(Buffer.from(bytes).toString('utf8')) as LayerVerdict // sealed by us: the shape is ours
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') this.#log.warn({ key, error: asSnapshotterError(error).line }, 'layer verdict discarded')
      return null
    }
  }

  async saveVerdict (key: string, verdict: LayerVerdict): Promise<void> {
    await writeDurably(join(this.folderOf(key), VERDICT), this.#seal.seal(VERDICT_KIND, key, Buffer.from(JSON.stringify(verdict))))
  }

  async discard (key: string): Promise<void> {
    await rm(this.folderOf(key), { recursive: true, force: true })
  }

  async keys (): Promise<string[]> {
    return (await readdir(this.#folder)).filter((name) => KEY.test(name))
  }
}

function encodeRecord (record: LayerRecord): Uint8Array {
  const { digest, diffId, tocDigest, size, mediaType } = record
  const stored: StoredHead = { digest, diffId, tocDigest, cid: record.cid.toString(), size, mediaType }
  const head = Buffer.from(JSON.stringify(stored))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(head.length)
  return Buffer.concat([length, head, recordOf(record.index)])
}

function decodeRecord (bytes: Uint8Array): LayerRecord {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.length < 4 || view.length < 4 + view.readUInt32LE(0)) throw new SnapshotterError('STATE_INVALID', 'layer record is cut short')
  const split = 4 + view.readUInt32LE(0)
  // Sealed by us: the shape is ours.
  const head = JSON.parse(view.toString('utf8', 4, split)) as StoredHead
  return {
    digest: parseDigest(head.digest),
    diffId: parseDigest(head.diffId),
    tocDigest: head.tocDigest === null ? null : parseDigest(head.tocDigest),
    cid: parseCid(head.cid),
    size: head.size,
    mediaType: head.mediaType,
    index: decodeIndex(view.subarray(split))
  }
}
