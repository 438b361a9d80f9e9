// The published root: a UnixFS directory that holds an OCI image layout (image-spec image-layout.md) and nothing else.
// Blobs are added as they come; the directories are written last.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { type Digest, DigestStream } from '../verify/digest.ts'
import type { CarFile } from './car-writer.ts'
import type { Link } from './dag-pb.ts'
import { writeDirectory } from './unixfs-directory.ts'
import { type ImportedFile, importFile } from './unixfs-file.ts'

export interface AddedBlob {
  readonly digest: Digest
  readonly size: number
  readonly file: ImportedFile
}

export class Layout {
  readonly #car: CarFile
  readonly #signal: AbortSignal | undefined
  readonly #leafBytes: number | undefined
  readonly #blobs = new Map<Digest, AddedBlob>()

  /** `leafBytes`: of the blobs; see importFile. */
  constructor (car: CarFile, { signal, leafBytes }: { readonly signal?: AbortSignal | undefined, readonly leafBytes?: number | undefined } = {}) {
    this.#car = car
    this.#leafBytes = leafBytes
    this.#signal = signal
  }

  added (digest: Digest): AddedBlob | undefined {
    return this.#blobs.get(digest)
  }

  /** Imports a blob whose digest is known only afterwards. */
  async add (stream: AsyncIterable<Uint8Array>): Promise<AddedBlob> {
    const hash = new DigestStream()
    const file = await importFile(this.#car, passing(stream, hash, this.#signal), this.#leafBytes)
    const blob = { digest: hash.digest(), size: file.size, file }
    this.#blobs.set(blob.digest, blob)
    return blob
  }

  /** @throws DIGEST_MISMATCH when the bytes are others than `digest` says. */
  async addNamed (digest: Digest, stream: AsyncIterable<Uint8Array>, what: string): Promise<AddedBlob> {
    const known = this.#blobs.get(digest)
    if (known !== undefined) return known
    const blob = await this.add(stream)
    if (blob.digest !== digest) {
      throw new SnapshotterError('DIGEST_MISMATCH', `${what}: want ${digest}, got ${blob.digest}`, { want: digest, got: blob.digest })
    }
    return blob
  }

  async addBytes (bytes: Uint8Array): Promise<AddedBlob> {
    return await this.add(once(bytes))
  }

  /** Writes the directories and gives the root. */
  async finish (layoutFile: Uint8Array, index: Uint8Array): Promise<CID> {
    const blobs = [...this.#blobs.values()].map(({ digest, file }) => link(digest.slice('sha256:'.length), file))
    const sha256 = await writeDirectory(this.#car, blobs)
    const folder = await writeDirectory(this.#car, [{ name: 'sha256', ...sha256 }])
    const root = await writeDirectory(this.#car, [
      { name: 'blobs', ...folder },
      link('index.json', await importFile(this.#car, once(index))),
      link('oci-layout', await importFile(this.#car, once(layoutFile)))
    ])
    return root.cid
  }
}

function link (name: string, { cid, tsize }: ImportedFile): Link {
  return { name, cid, tsize }
}

async function * once (bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function * passing (stream: AsyncIterable<Uint8Array>, hash: DigestStream, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const piece of stream) {
    signal?.throwIfAborted()
    hash.update(piece)
    yield piece
  }
}
