// What the Kubo-RPC shim stores: files, blocks and CARs as blocks of this node. An upload is stored whole or not at all, and
// pinned after it is stored; a client that goes away before leaves nothing.
import type { CID } from 'multiformats/cid'
import { asSnapshotterError, hasCode, messageOf, SnapshotterError } from '../base/errors.ts'
import { BLOCK_BYTES_MAX } from '../base/limits.ts'
import type { AddedEntry, AddOptions, BlockOptions, ImportedCars, KuboWrites, Pinned } from '../http/kubo-writes.ts'
import type { Part } from '../http/multipart.ts'
import type { BlockUpload } from '../ipfs/block-upload.ts'
import { importCar } from '../ipfs/car-import.ts'
import type { GivenBlocks } from '../ipfs/given-blocks.ts'
import { nodeCid, nodeCidV0, rawCid } from '../publish/dag-pb.ts'
import { importShaped } from '../publish/unixfs-file.ts'
import { acceptCid } from '../verify/cid.ts'
import { AddedTree } from './added-tree.ts'

const ORIGIN = 'the client'

export class KuboUploads implements KuboWrites {
  readonly #given: GivenBlocks

  constructor (given: GivenBlocks) {
    this.#given = given
  }

  readonly add = async (files: AsyncIterable<Part>, options: AddOptions, signal: AbortSignal): Promise<AddedEntry[]> => {
    const { version, pin, onlyHash } = options
    return await this.#upload(async (upload) => {
      const shape = { ...options, nodeCid: version === 0 ? nodeCidV0 : nodeCid }
      const put = async (cid: CID, bytes: Uint8Array): Promise<void> => { if (!onlyHash) await upload.put(cid, bytes, ORIGIN) }
      const tree = new AddedTree(options.wrap)
      for await (const { name, mediaType, body } of files) {
        if (mediaType === 'application/x-directory') tree.addFolder(name)
        else if (mediaType === 'application/symlink') throw new SnapshotterError('UNSUPPORTED', `add: ${JSON.stringify(name.slice(0, 120))} is a symbolic link`)
        else tree.addFile(name, await importShaped(body, shape, put))
      }
      const { entries, roots } = await tree.finish({ put, nodeCid: shape.nodeCid })
      if (entries.length === 0) throw new SnapshotterError('INVALID_ARGUMENT', 'add: no file was sent')
      if (!onlyHash) await this.#keep(upload, pin ? roots : [], signal)
      return entries
    })
  }

  readonly putBlocks = async (
    blocks: AsyncIterable<Part>, { codec, pin }: BlockOptions, signal: AbortSignal
  ): Promise<Array<{ readonly cid: CID, readonly size: number }>> => {
    return await this.#upload(async (upload) => {
      const put: Array<{ cid: CID, size: number }> = []
      for await (const { body } of blocks) {
        const bytes = await wholeBlock(body)
        const cid = codec === 'raw' ? rawCid(bytes) : codec === 'v0' ? nodeCidV0(bytes) : nodeCid(bytes)
        await upload.put(cid, bytes, ORIGIN)
        put.push({ cid, size: bytes.byteLength })
      }
      if (put.length === 0) throw new SnapshotterError('INVALID_ARGUMENT', 'block/put: no block was sent')
      await this.#keep(upload, pin ? put.map(({ cid }) => cid) : [], signal)
      return put
    })
  }

  /** A root that cannot be pinned is told as Kubo tells it; what came stays for a while, for CARs that bring the rest. */
  readonly importCars = async (cars: AsyncIterable<Part>, pinRoots: boolean, signal: AbortSignal): Promise<ImportedCars> => {
    return await this.#upload(async (upload) => {
      const named = new Map<string, CID>()
      let count = 0
      for await (const { body } of cars) {
        count++
        for (const root of await importCar(upload, body, ORIGIN)) named.set(root.toString(), root)
      }
      if (count === 0) throw new SnapshotterError('INVALID_ARGUMENT', 'dag/import: no CAR was sent')
      await this.#keep(upload, [], signal)
      const roots: Array<{ cid: CID, failure: string }> = []
      for (const cid of pinRoots ? named.values() : []) roots.push({ cid, failure: await this.#tryPin(cid) })
      return { roots, ...upload.stats }
    })
  }

  readonly pin = async (cids: readonly CID[]): Promise<void> => {
    for (const cid of cids) await this.#pin(cid)
  }

  readonly unpin = async (cids: readonly CID[]): Promise<void> => {
    const pins = new Set((await this.#given.pins()).map((pin) => pin.toV1().toString()))
    const wrong = cids.find((cid) => !pins.has(cid.toV1().toString()))
    if (wrong !== undefined) throw new SnapshotterError('FAILED_PRECONDITION', `${wrong.toString()} is not pinned`)
    for (const cid of cids) await this.#given.unpin(cid)
  }

  readonly pins = async (): Promise<CID[]> => await this.#given.pins()
  readonly held = async (): Promise<Pinned[]> => await this.#given.held()

  async #upload<Result> (work: (upload: BlockUpload) => Promise<Result>): Promise<Result> {
    const upload = await this.#given.begin()
    try {
      return await work(upload)
    } finally {
      await upload.close()
    }
  }

  async #keep (upload: BlockUpload, pins: readonly CID[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await upload.commit()
    for (const cid of pins) await this.#pin(cid)
  }

  /** @throws FAILED_PRECONDITION for what is not here: to Kubo's own command, 404 says that there is no such command. */
  async #pin (root: CID): Promise<void> {
    try {
      await this.#given.pin(root)
    } catch (cause) {
      if (!hasCode(cause, 'NOT_FOUND')) throw cause
      throw new SnapshotterError('FAILED_PRECONDITION', `${messageOf(cause)}, and nothing is fetched for a pin: add or import it`, {}, { cause })
    }
  }

  async #tryPin (root: CID): Promise<string> {
    try {
      await this.#given.pin(acceptCid(root))
      return ''
    } catch (error) {
      return asSnapshotterError(error).line
    }
  }
}

async function wholeBlock (body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of body) {
    length += piece.byteLength
    if (length > BLOCK_BYTES_MAX) throw new SnapshotterError('BLOCK_TOO_LARGE', `a block of more than ${BLOCK_BYTES_MAX} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}
