// Opens a root CID: decides which of the four shapes it has (design §4) and hands back the document to begin with and where
// blobs are. Bytes are verified blocks already; nothing is parsed before its size is known to be small.
import type { CID } from 'multiformats/cid'
import { hasCode, messageOf, SnapshotterError } from '../base/errors.ts'
import { MANIFEST_BYTES_MAX, ROOT_PEEK_BYTES } from '../base/limits.ts'
import type { DirectoryEntry } from '../ipfs/blocks.ts'
import { type Descriptor, readDescriptor } from '../oci/descriptor.ts'
import { readIndex } from '../oci/index-document.ts'
import { readManifest } from '../oci/manifest-document.ts'
import { isIndexType, isManifestType, refuseType } from '../oci/media-types.ts'
import { checkLayoutFile, directoryShape, documentShape, type FileShape, looksLikeDocument } from '../oci/root-shape.ts'
import { parseStrictJson } from '../oci/strict-json.ts'
import { CODE_RAW, rawCidOf } from '../verify/cid.ts'
import { type Digest, digestOf, isDigest } from '../verify/digest.ts'
import { type VerifiedBytes, verifyBlock, verifyDigest } from '../verify/verified-bytes.ts'
import { blobDirectory, BlobFinder } from './blob-finder.ts'
import { naming, type ResolveContext } from './context.ts'
import type { VerifiedDocument } from './plan.ts'

const USUAL_LAYOUT = Buffer.from('{"imageLayoutVersion":"1.0.0"}')
const USUAL_LAYOUT_CID = rawCidOf(digestOf(USUAL_LAYOUT))

export interface Root {
  readonly shape: 'layout' | 'descriptor' | 'index' | 'manifest' | 'ipdr'
  /** An index or a manifest; its media type tells which. */
  readonly document: VerifiedDocument
  readonly finder: BlobFinder
}

/**
 * `pinned` is the digest of the reference: an IPDR root holds a manifest per digest and tag.
 * @throws NOT_OCI, LIMIT_EXCEEDED, DIGEST_MISMATCH, MEDIA_TYPE_UNSUPPORTED, REF_INVALID, and what the sources throw.
 */
export async function openRoot (cid: CID, pinned: Digest | null, context: ResolveContext): Promise<Root> {
  if (cid.code !== CODE_RAW) guessLayout(cid, context)
  const entries = cid.code === CODE_RAW ? null : await listRoot(cid, context)
  if (entries === null) return await openFileRoot(cid, context)
  const files = new Map(entries.map((entry) => [entry.name, entry.cid]))
  return directoryShape(entries, context.root) === 'layout'
    ? await openLayout(files, context)
    : await openIpdr(files, pinned, context)
}

/** Most roots are layouts: what the walk will ask for first comes with the root, in its round trip. A wrong guess is not noticed. */
function guessLayout (cid: CID, { blocks, signal }: ResolveContext): void {
  for (const path of [['blobs', 'sha256'], ['index.json']]) blocks.resolvePath(cid, path, { signal }).catch(() => {})
}

async function listRoot (cid: CID, { blocks, signal, root }: ResolveContext): Promise<DirectoryEntry[] | null> {
  try {
    return await blocks.listDirectory(cid, { signal })
  } catch (error) {
    throw asNotOci(error, root)
  }
}

/** A root block that is there, but is no file or directory: that is what the publisher has to hear. */
function asNotOci (error: unknown, root: string): unknown {
  if (!hasCode(error, 'BLOCK_INVALID')) return error
  return new SnapshotterError('NOT_OCI', `${root} is no UnixFS file or directory (${messageOf(error)})`, {}, { cause: error })
}

/** (a) All of it came with the root where the guess was right; else one round trip, and one more for blobs/sha256. */
async function openLayout (files: ReadonlyMap<string, CID>, context: ResolveContext): Promise<Root> {
  const [index, layout, blobs] = await Promise.all([
    readSmall(files.get('index.json'), 'index.json', context),
    readLayoutFile(files.get('oci-layout'), context),
    layoutBlobs(files.get('blobs'), context)
  ])
  checkLayoutFile(layout, `oci-layout of ${context.root}`)
  const { mediaType } = readIndex(index, null, `index.json of ${context.root}`)
  return { shape: 'layout', document: { mediaType, digest: digestOf(index), bytes: index }, finder: new BlobFinder(context, blobs) }
}

/** Nearly always the same 30 bytes: then the CID says so, and nothing is fetched. */
async function readLayoutFile (cid: CID | undefined, context: ResolveContext): Promise<VerifiedBytes> {
  return cid?.equals(USUAL_LAYOUT_CID) === true ? verifyBlock(cid, USUAL_LAYOUT, 'its own CID') : await readSmall(cid, 'oci-layout', context)
}

async function layoutBlobs (blobs: CID | undefined, context: ResolveContext): Promise<Map<string, CID>> {
  const what = `blobs/sha256 of ${context.root}`
  const sha256 = await naming(what, context.blocks.resolvePath(present(blobs, what), ['sha256'], { signal: context.signal }))
  const entries = await list(sha256 ?? undefined, 'blobs/sha256', context)
  return blobDirectory(entries, (name) => asDigest(`sha256:${name}`))
}

/** (d) `manifests/<tag or digest>` and `blobs/sha256:<hex>`. */
async function openIpdr (files: ReadonlyMap<string, CID>, pinned: Digest | null, context: ResolveContext): Promise<Root> {
  const [manifests, blobs] = await Promise.all([
    list(files.get('manifests'), 'manifests', context), list(files.get('blobs'), 'blobs', context)
  ])
  const named = new Map(manifests.map(({ name, cid }) => [name, cid]))
  const distinct = new Set(manifests.map(({ cid }) => cid.toString()))
  const only = distinct.size === 1 ? manifests[0]?.name : undefined
  const chosen = [pinned, 'latest', only].find((name) => typeof name === 'string' && named.has(name))
  if (chosen === undefined || chosen === null) {
    const names = manifests.slice(0, 8).map(({ name }) => name.slice(0, 80)).join(', ')
    throw new SnapshotterError('REF_INVALID',
      `${context.root} has ${manifests.length} manifests (${names}) and none called latest; add @sha256:<manifest digest>`)
  }
  const what = `manifests/${chosen}`
  const bytes = await readSmall(named.get(chosen), what, context)
  if (isDigest(chosen)) verifyDigest(chosen, bytes, `${what} of ${context.root}`)
  const finder = new BlobFinder(context, blobDirectory([...blobs, ...manifests], asDigest))
  return { shape: 'ipdr', document: bareDocument(bytes, `${what} of ${context.root}`), finder }
}

/** (b) and (c): one file, which must be a document. */
async function openFileRoot (cid: CID, context: ResolveContext): Promise<Root> {
  const { blocks, signal, root } = context
  const file = await blocks.openFile(cid, { signal }).catch((error: unknown) => { throw asNotOci(error, root) })
  const head = await file.read(0, Math.min(file.size, ROOT_PEEK_BYTES), { signal })
  looksLikeDocument(head, file.size, root)
  const bytes = head.byteLength === file.size ? head : await file.read(0, file.size, { signal })
  const finder = new BlobFinder(context, new Map())
  const shape = documentShape(bytes, root)
  if (shape !== 'descriptor') return { shape, document: bareDocument(bytes, root, shape), finder }

  const descriptor = rootDescriptor(bytes, root)
  return { shape, document: await finder.document(descriptor, isIndexType(descriptor.mediaType) ? 'index' : 'manifest'), finder }
}

function rootDescriptor (bytes: VerifiedBytes, root: string): Descriptor {
  const value = parseStrictJson(bytes, { what: root, code: 'NOT_OCI', bytesMax: MANIFEST_BYTES_MAX })
  const descriptor = readDescriptor(value, `descriptor ${root}`)
  if (!isIndexType(descriptor.mediaType) && !isManifestType(descriptor.mediaType)) {
    refuseType(descriptor.mediaType, `the document that ${root} describes`)
  }
  return descriptor
}

function bareDocument (bytes: VerifiedBytes, what: string, shape: FileShape = documentShape(bytes, what)): VerifiedDocument {
  const { mediaType } = shape === 'index' ? readIndex(bytes, null, what) : readManifest(bytes, null, what)
  return { mediaType, digest: digestOf(bytes), bytes }
}

async function readSmall (cid: CID | undefined, name: string, context: ResolveContext): Promise<VerifiedBytes> {
  const what = `${name} of ${context.root}`
  return await naming(what, context.blocks.readAll(present(cid, what), MANIFEST_BYTES_MAX, { signal: context.signal }))
}

async function list (cid: CID | undefined, name: string, { blocks, signal, root }: ResolveContext): Promise<DirectoryEntry[]> {
  const what = `${name} of ${root}`
  const entries = await naming(what, blocks.listDirectory(present(cid, what), { signal }))
  if (entries === null) throw new SnapshotterError('NOT_OCI', `${what} is a file, not a directory`)
  return entries
}

function present (cid: CID | undefined, what: string): CID {
  if (cid === undefined) throw new SnapshotterError('NOT_OCI', `${what} is missing`)
  return cid
}

function asDigest (text: string): Digest | null {
  return isDigest(text) ? text : null
}
