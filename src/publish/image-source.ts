// Where an image comes from, told by content: an OCI layout directory, an OCI archive, or a docker archive; archives may
// be gzipped. All three look the same afterwards: two small files and blobs by digest. Refuses everything else by NOT_OCI
// with what was found. Nothing is unpacked; a gzipped archive is inflated once into a file without a name.
import { type FileHandle, open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { messageOf, SnapshotterError, systemCode } from '../base/errors.ts'
import { MANIFEST_BYTES_MAX, PUBLISH_ARCHIVE_BYTES_MAX, PUBLISH_READ_BYTES } from '../base/limits.ts'
import { TAR_BLOCK } from '../layer/tar-header.ts'
import { describeFile } from '../oci/describe-file.ts'
import { checkLayoutFile } from '../oci/root-shape.ts'
import type { Digest } from '../verify/digest.ts'
import { type ArchiveIndex, indexArchive } from './archive-index.ts'
import { type ByteSource, fileSlice, openNameless } from './byte-source.ts'
import { dockerArchive } from './docker-archive.ts'
import type { Report } from './report.ts'

export interface OpenBlob extends ByteSource {
  readonly close: () => Promise<void>
}

export interface ImageSource {
  readonly kind: 'OCI layout' | 'OCI archive' | 'docker archive' | 'image in containerd'
  readonly name: string
  /** The bytes of oci-layout and index.json, made up for a docker archive. */
  readonly layoutFile: Buffer
  readonly index: Buffer
  /** What to do about a blob that is not there, where that can be said. */
  readonly remedy?: string | undefined
  /** The bytes under this digest, not yet checked against it, or null. */
  readonly blob: (digest: Digest) => Promise<OpenBlob | null>
  readonly close: () => Promise<void>
}

const GZIP = Buffer.of(0x1f, 0x8b)
const USTAR_AT = 257
const NAMES_SHOWN = 8
const WANTED = 'an image archive holds oci-layout and index.json, or manifest.json'

interface SourceOptions {
  /** A path whose folder takes an inflated archive. */
  readonly spoolBeside: string
  readonly inflatedBytesMax?: number
  /** Of the inflating. */
  readonly report?: Report
  readonly signal?: AbortSignal | undefined
}

/** @throws NOT_FOUND, NOT_OCI, UNSUPPORTED, LIMIT_EXCEEDED */
export async function openImageSource (path: string, options: SourceOptions): Promise<ImageSource> {
  if (/^[a-z]+:\/\//.test(path)) {
    throw new SnapshotterError('UNSUPPORTED', `${path}: publish reads OCI layouts, OCI archives, docker archives and containerd://NAMESPACE/IMAGE`)
  }
  const facts = await stat(path).catch((cause: unknown) => {
    throw new SnapshotterError('NOT_FOUND', `${path}: no such file or directory`, {}, { cause })
  })
  if (facts.isDirectory()) return await openLayout(path)
  if (!facts.isFile()) throw new SnapshotterError('NOT_OCI', `${path} is neither a file nor a directory`)
  return await openArchive(path, options)
}

/** @throws NOT_OCI when the source lacks the blob, and what `use` throws. */
export async function withBlob<Result> (source: ImageSource, digest: Digest, use: (blob: OpenBlob) => Promise<Result>): Promise<Result> {
  const blob = await source.blob(digest)
  if (blob === null) throw new SnapshotterError('NOT_OCI', `${source.name} has no blob ${digest}`)
  try {
    return await use(blob)
  } finally {
    await blob.close()
  }
}

async function openLayout (path: string): Promise<ImageSource> {
  const layoutFile = await smallFile(join(path, 'oci-layout'))
  const index = await smallFile(join(path, 'index.json'))
  if (layoutFile === null || index === null) {
    const names = await readdir(path)
    const found = names.length === 0 ? 'an empty directory' : `a directory with ${listed(names)}`
    throw new SnapshotterError('NOT_OCI', `${path} is ${found}; an OCI layout has oci-layout, index.json and blobs`)
  }
  checkLayoutFile(layoutFile, join(path, 'oci-layout'))
  const blob = async (digest: Digest): Promise<OpenBlob | null> => {
    const file = await open(join(path, 'blobs/sha256', digest.slice('sha256:'.length))).catch(() => null)
    if (file === null) return null
    const { size } = await file.stat()
    return { ...fileSlice(file, `${path}: blob ${digest}`, 0, size), close: async () => { await file.close() } }
  }
  return { kind: 'OCI layout', name: path, layoutFile, index, blob, close: async () => {} }
}

async function openArchive (path: string, options: SourceOptions): Promise<ImageSource> {
  const file = await plainFile(path, options)
  try {
    const { size } = await file.stat()
    await refuseUnlessTar(path, file, size)
    const archive = await indexArchive(fileSlice(file, path, 0, size)).catch((cause: unknown) => {
      throw new SnapshotterError('NOT_OCI', `${path} is a damaged archive: ${messageOf(cause)}`, {}, { cause })
    })
    const close = async (): Promise<void> => { await file.close() }
    if (archive.has('oci-layout') && archive.has('index.json')) return await ociArchive(path, archive, close)
    if (archive.has('manifest.json')) return await dockerArchive(path, archive, close)
    throw new SnapshotterError('NOT_OCI', `${path} is a tar archive with ${listed(archive.names)}; ${WANTED}`)
  } catch (error) {
    await file.close()
    throw error
  }
}

/** The archive itself, or what it inflates to. */
async function plainFile (path: string, options: SourceOptions): Promise<FileHandle> {
  const { spoolBeside, inflatedBytesMax = PUBLISH_ARCHIVE_BYTES_MAX, report = () => {}, signal } = options
  const file = await open(path)
  const head = Buffer.alloc(GZIP.byteLength)
  await file.read(head, 0, head.byteLength, 0)
  if (!head.equals(GZIP)) return file
  const inflated = await openNameless(spoolBeside)
  try {
    const write = async (pieces: AsyncIterable<Buffer>): Promise<void> => {
      let bytes = 0
      for await (const piece of pieces) {
        bytes += piece.byteLength
        if (bytes > inflatedBytesMax) throw new SnapshotterError('LIMIT_EXCEEDED', `${path} inflates to more than ${inflatedBytesMax} bytes`)
        await inflated.writeFile(piece)
      }
    }
    report({ event: 'begin', item: path, phase: 'inflate', total: (await file.stat()).size })
    const archive = file.createReadStream({ start: 0 }).on('data', ({ length }) => { report({ event: 'advance', item: path, bytes: length }) })
    await pipeline(archive, createGunzip({ chunkSize: PUBLISH_READ_BYTES }), write, { signal })
    report({ event: 'end', item: path, text: 'inflated' })
  } catch (cause) {
    await inflated.close()
    if (systemCode(cause)?.startsWith('Z_') !== true) throw cause
    throw new SnapshotterError('NOT_OCI', `${path} is not valid gzip: ${messageOf(cause)}`, {}, { cause })
  }
  return inflated
}

async function ociArchive (path: string, archive: ArchiveIndex, close: () => Promise<void>): Promise<ImageSource> {
  const layoutFile = await archive.small('oci-layout')
  checkLayoutFile(layoutFile, `${path}: oci-layout`)
  const blob = async (digest: Digest): Promise<OpenBlob | null> => {
    const source = archive.open(`blobs/sha256/${digest.slice('sha256:'.length)}`, `${path}: blob ${digest}`)
    return source === null ? null : { ...source, close: async () => {} }
  }
  return { kind: 'OCI archive', name: path, layoutFile, index: await archive.small('index.json'), blob, close }
}

async function refuseUnlessTar (path: string, file: FileHandle, size: number): Promise<void> {
  const head = Buffer.alloc(Math.min(size, TAR_BLOCK))
  await file.read(head, 0, head.byteLength, 0)
  if (head.byteLength === TAR_BLOCK && head.toString('latin1', USTAR_AT, USTAR_AT + 5) === 'ustar') return
  throw new SnapshotterError('NOT_OCI', `${path} is ${describeFile(head, size)}; ${WANTED}`)
}

function listed (names: readonly string[]): string {
  const shown = [...names].sort().slice(0, NAMES_SHOWN).map((name) => JSON.stringify(name.slice(0, 64))).join(', ')
  return names.length > NAMES_SHOWN ? `${shown} and ${names.length - NAMES_SHOWN} more` : shown
}

async function smallFile (path: string): Promise<Buffer | null> {
  const facts = await stat(path).catch(() => null)
  if (facts === null) return null
  if (facts.size > MANIFEST_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${path} has ${facts.size} bytes, limit ${MANIFEST_BYTES_MAX}`)
  }
  return await readFile(path)
}
