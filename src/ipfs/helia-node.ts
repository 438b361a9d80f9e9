// Helia as our node: createHeliaLight with our block broker (no routers, no libp2p) and a blockstore that checks every
// block that goes in or comes out. Helia trusts its own store and takes cut sha2-256 digests; neither can happen here.
// Importing Helia takes 0.8–3 s, so this file loads it when first asked and nothing imports it on the way to a read.
import type { UnixFS } from '@helia/unixfs'
import type { Helia, HeliaInit } from 'helia'
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { acceptCid } from '../verify/cid.ts'
import { type VerifiedBytes, verifyBlock } from '../verify/verified-bytes.ts'
import { collect } from './collect.ts'

type Blockstore = NonNullable<HeliaInit['blockstore']>
type BlockBroker = Exclude<NonNullable<HeliaInit['blockBrokers']>[number], (...components: never) => unknown>

/** Where Helia's blocks lie; nobody has to trust it. */
export interface HeliaStorage {
  readonly has: (cid: CID) => boolean | Promise<boolean>
  /** Null when it is not there. */
  readonly get: (cid: CID) => Uint8Array | null | Promise<Uint8Array | null>
  readonly put: (cid: CID, block: VerifiedBytes) => void | Promise<void>
}

export interface HeliaNode {
  readonly helia: Helia
  /** Resolves directories and imports files over the node's store. */
  readonly unixfs: UnixFS
  readonly stop: () => Promise<void>
}

/** `retrieve` brings blocks that the storage lacks; without it the node is offline. */
export async function createHeliaNode (
  storage: HeliaStorage, retrieve?: (cid: CID, signal?: AbortSignal) => Promise<VerifiedBytes>
): Promise<HeliaNode> {
  const [{ createHeliaLight }, { unixfs }] = await Promise.all([import('helia'), import('@helia/unixfs')])
  const helia = createHeliaLight({
    blockstore: new VerifyingBlockstore(storage),
    blockBrokers: retrieve === undefined ? [] : [brokerOf(retrieve)],
    routers: []
  })
  await helia.start()
  return { helia, unixfs: unixfs(helia), stop: async () => { await helia.stop() } }
}

function brokerOf (retrieve: (cid: CID, signal?: AbortSignal) => Promise<VerifiedBytes>): BlockBroker {
  return {
    name: 'ipfs-snapshotter',
    retrieve: async (cid, options) => {
      const block = await retrieve(acceptCid(cid), options?.signal)
      await options?.validateFn?.(block)
      return block
    }
  }
}

/** Deleting and listing are not needed and not offered. */
export class VerifyingBlockstore implements Blockstore {
  readonly #storage: HeliaStorage

  constructor (storage: HeliaStorage) {
    this.#storage = storage
  }

  async has (cid: CID): Promise<boolean> {
    return await this.#storage.has(acceptCid(cid))
  }

  async put (cid: CID, block: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<CID> {
    const bytes = block instanceof Uint8Array || ArrayBuffer.isView(block) ? block as Uint8Array : await collect(block)
    await this.#storage.put(cid, verifyBlock(cid, bytes, 'the importer'))
    return cid
  }

  async * putMany (pairs: Parameters<Blockstore['putMany']>[0]): AsyncGenerator<CID> {
    for await (const { cid, bytes } of pairs) yield await this.put(cid, bytes)
  }

  async * get (cid: CID): AsyncGenerator<Uint8Array> {
    const bytes = await this.#storage.get(acceptCid(cid))
    if (bytes === null) throw new SnapshotterError('NOT_FOUND', `block ${cid.toString()} is not in the node's store`)
    yield verifyBlock(cid, bytes, "the node's store")
  }

  async * getMany (cids: Iterable<CID> | AsyncIterable<CID>): AsyncGenerator<{ cid: CID, bytes: AsyncGenerator<Uint8Array> }> {
    for await (const cid of cids) yield { cid, bytes: this.get(cid) }
  }

  delete (cid: CID): never {
    throw new SnapshotterError('UNSUPPORTED', `blocks are not deleted here (${cid.toString()})`)
  }

  deleteMany (): never {
    throw new SnapshotterError('UNSUPPORTED', 'blocks are not deleted here')
  }

  getAll (): never {
    throw new SnapshotterError('UNSUPPORTED', 'blocks are not listed here')
  }
}
