// What the Kubo-RPC shim reads: files from the configured sources, documents and layers of images that were asked for, and
// for the root of an image the JSON descriptor by which nerdctl pulls, once everything is ready for that pull to be lazy.
import type { CID } from 'multiformats/cid'
import { sleep, systemClock } from '../base/clock.ts'
import { hasCode, SnapshotterError } from '../base/errors.ts'
import { KUBO_DESCRIPTOR_BYTES_MAX, REGISTRY_BOOKING_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { SingleFlight } from '../base/single-flight.ts'
import type { IpfsApiSettings } from '../config/load.ts'
import { requireDigest } from '../content/content-store.ts'
import { lendDocuments, targetOf } from '../grpc/lend-documents.ts'
import type { KuboFile } from '../http/kubo-answers.ts'
import type { KuboReads, KuboStat } from '../http/kubo-rpc.ts'
import type { KuboPath } from '../http/kubo-request.ts'
import type { ImagePlan } from '../image/plan.ts'
import type { BlockService, UnixfsFile } from '../ipfs/blocks.ts'
import { documentShape } from '../oci/root-shape.ts'
import { CODE_RAW, digestOfRawCid, rawCidOf } from '../verify/cid.ts'
import type { RegistryImages } from './registry-images.ts'
import type { Sources } from './sources.ts'

interface Parts {
  readonly api: IpfsApiSettings
  readonly containerdAddress: string
  readonly sources: Sources
  readonly images: RegistryImages
  readonly log: Log
}

export class KuboImages implements KuboReads {
  readonly #parts: Parts
  readonly #lending = new SingleFlight<undefined>()
  /** Root CID → when its documents were lent. */
  readonly #lentMs = new Map<string, number>()
  readonly #closing = new AbortController()

  constructor (parts: Parts) {
    this.#parts = parts
  }

  readonly open = async (path: KuboPath, signal: AbortSignal): Promise<KuboFile> => {
    const cid = await this.#resolve(path, signal)
    const blob = this.#known(cid)
    if (blob !== null) return blob
    if (await this.#isDirectory(cid, signal)) {
      if (path.names.length > 0) throw new SnapshotterError('INVALID_ARGUMENT', `${cid.toString()} is a directory`)
      return fileOf(descriptorOf(await this.#ready(cid)))
    }
    const file = await this.#blocks().openFile(cid, { signal })
    const text = path.names.length === 0 ? await this.#describing(file, signal) : null
    if (text !== null) {
      const plan = await this.#ready(cid)
      // A descriptor with `urls` leads nerdctl as it is.
      if (!/"urls"\s*:/.test(text)) return fileOf(descriptorOf(plan))
    }
    return { size: file.size, read: (offset, length) => file.stream(offset, length, { signal }) }
  }

  readonly stat = async (path: KuboPath, signal: AbortSignal): Promise<KuboStat> => {
    const cid = await this.#resolve(path, signal)
    const blob = this.#known(cid)
    if (blob !== null) return { cid, type: 'file', size: blob.size }
    if (await this.#isDirectory(cid, signal)) return { cid, type: 'directory', size: 0 }
    const { size } = await this.#blocks().openFile(cid, { signal })
    return { cid, type: 'file', size }
  }

  readonly block = async (path: KuboPath, signal: AbortSignal): Promise<Uint8Array> => {
    return await this.#blocks().get(await this.#resolve(path, signal), { signal })
  }

  close (): void {
    this.#closing.abort(new SnapshotterError('UNAVAILABLE', 'the daemon is stopping'))
  }

  #blocks (): BlockService {
    const blocks = this.#parts.sources.configured
    if (blocks.sources().length === 0) throw new SnapshotterError('CONFIG_INVALID', 'no source to fetch from: add a [[source]] to the config file')
    return blocks
  }

  async #resolve ({ cid, names }: KuboPath, signal: AbortSignal): Promise<CID> {
    if (names.length === 0) return cid
    const found = await this.#blocks().resolvePath(cid, names, { signal })
    if (found === null) throw new SnapshotterError('NOT_FOUND', `no ${JSON.stringify(names.join('/').slice(0, 200))} under ${cid.toString()}`)
    return found
  }

  async #isDirectory (cid: CID, signal: AbortSignal): Promise<boolean> {
    return cid.code !== CODE_RAW && await this.#blocks().listDirectory(cid, { signal }) !== null
  }

  /** A part of an image that was asked for: its digest is its raw CID, whatever its size. */
  #known (cid: CID): KuboFile | null {
    const digest = digestOfRawCid(cid)
    return digest === null ? null : this.#parts.images.blob(digest)
  }

  /** The text of a file that describes an image, null for all others. */
  async #describing (file: UnixfsFile, signal: AbortSignal): Promise<string | null> {
    if (file.size > KUBO_DESCRIPTOR_BYTES_MAX) return null
    const bytes = await file.read(0, file.size, { signal })
    try {
      return documentShape(bytes, file.cid.toString()) === 'descriptor' ? Buffer.from(bytes).toString() : null
    } catch (error) {
      if (hasCode(error, 'NOT_OCI', 'LIMIT_EXCEEDED')) return null
      throw error
    }
  }

  /** Resolved, its layers booked, its documents in containerd: whoever pulls it now is lazy. */
  async #ready (cid: CID): Promise<ImagePlan> {
    const plan = await this.#parts.images.plan(cid)
    const key = plan.canonical
    await this.#lending.run(key, async () => {
      const lent = this.#lentMs.get(key)
      if (lent === undefined || systemClock.monotonicMs() - lent > REGISTRY_BOOKING_MS / 2) await this.#lend(plan, key)
      return undefined
    })
    return plan
  }

  async #lend (plan: ImagePlan, key: string): Promise<void> {
    const { api: { namespace }, containerdAddress: address, log } = this.#parts
    const { signal } = this.#closing
    const over = sleep(REGISTRY_BOOKING_MS, signal).catch(() => {})
    await lendDocuments({ plan, address, namespace, over, signal, log })
    const now = systemClock.monotonicMs()
    this.#lentMs.set(key, now)
    void over.then(() => { if (this.#lentMs.get(key) === now) this.#lentMs.delete(key) })
  }
}

/** What `nerdctl push` would have printed the CID of. */
function descriptorOf (plan: ImagePlan): Uint8Array {
  const { mediaType, digest, size } = targetOf(plan)
  return Buffer.from(JSON.stringify({ mediaType, digest, size, urls: [`ipfs://${rawCidOf(requireDigest(digest)).toString()}`] }))
}

function fileOf (bytes: Uint8Array): KuboFile {
  return { size: bytes.byteLength, read: async function * (offset, length) { yield await Promise.resolve(bytes.subarray(offset, offset + length)) } }
}
