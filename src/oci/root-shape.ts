// What a root CID holds, told from a directory's names or a file's bytes (design §4): (a) an OCI image layout, (b) a JSON
// descriptor with `urls`, (c) a bare index or manifest, (d) an IPDR directory. For anything else NOT_OCI says what was found
// and what to do about it.
import { SnapshotterError } from '../base/errors.ts'
import { MANIFEST_BYTES_MAX } from '../base/limits.ts'
import { describeFile } from './describe-file.ts'
import { Fields } from './fields.ts'
import { isJsonObject, type JsonObject, parseStrictJson } from './strict-json.ts'

export type DirectoryShape = 'layout' | 'ipdr'
export type FileShape = 'descriptor' | 'index' | 'manifest'

interface Entry { readonly name: string, readonly cid: { toString: () => string } }

const NAMES_SHOWN = 8
const OPEN_BRACE = 0x7b

/** @throws NOT_OCI naming the entries; `what` names the root. */
export function directoryShape (entries: readonly Entry[], what: string): DirectoryShape {
  const names = new Set(entries.map(({ name }) => name))
  const layout = ['oci-layout', 'index.json', 'blobs']
  const present = layout.filter((name) => names.has(name))
  if (present.length === layout.length) return 'layout'
  if (names.has('manifests') && names.has('blobs')) return 'ipdr'

  const shown = [...names].sort().slice(0, NAMES_SHOWN).map((name) => JSON.stringify(name.slice(0, 64))).join(', ')
  const more = names.size > NAMES_SHOWN ? ` and ${names.size - NAMES_SHOWN} more` : ''
  const found = names.size === 0 ? 'an empty directory' : `a directory with ${shown}${more}`
  throw new SnapshotterError('NOT_OCI', `${what} is ${found}, not an OCI image layout${directoryHint(entries, names, present)}`)
}

function directoryHint (entries: readonly Entry[], names: ReadonlySet<string>, present: readonly string[]): string {
  const [only] = entries
  if (only !== undefined && entries.length === 1) return `; if the layout is inside it, use its own CID: ipfs://${only.cid.toString()}`
  if (names.has('manifest.json') && present.length < 2) {
    return '; it looks like an unpacked docker archive: run `ipfs-snapshotter publish` on the archive'
  }
  if (present.length > 0) return `; it misses ${['oci-layout', 'index.json', 'blobs'].filter((name) => !names.has(name)).join(' and ')}`
  if (names.has('index.html')) return '; it looks like a web site'
  return ''
}

/**
 * `head` is the start of the file (all of it, when it is a document), `size` its length.
 * @throws NOT_OCI, LIMIT_EXCEEDED (a document that is too long to be one)
 */
export function looksLikeDocument (head: Uint8Array, size: number, what: string): void {
  const first = head.find((byte) => byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)
  if (first !== OPEN_BRACE) throw new SnapshotterError('NOT_OCI', `${what} is ${describeFile(head, size)}`)
  if (size > MANIFEST_BYTES_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${what} is a document of ${size} bytes, limit ${MANIFEST_BYTES_MAX}`)
  }
}

/** @throws NOT_OCI */
export function documentShape (bytes: Uint8Array, what: string): FileShape {
  const value = parseStrictJson(bytes, { what, code: 'NOT_OCI', bytesMax: MANIFEST_BYTES_MAX })
  if (!isJsonObject(value)) throw new SnapshotterError('NOT_OCI', `${what} is JSON, but no object`)
  const document = ['manifests', 'layers', 'fsLayers', 'schemaVersion'].some((key) => value[key] !== undefined)
  const descriptor = value['digest'] !== undefined && value['size'] !== undefined
  if (document && descriptor) {
    throw new SnapshotterError('NOT_OCI', `${what} could be read as a descriptor and as a manifest`)
  }
  if (descriptor) return 'descriptor'
  if (!document) throw new SnapshotterError('NOT_OCI', `${what} is ${describeObject(value)}`)
  return value['manifests'] === undefined ? 'manifest' : 'index'
}

function describeObject (value: JsonObject): string {
  if (value['imageLayoutVersion'] !== undefined) return 'the oci-layout file of a layout; use the CID of the directory that holds it'
  if (value['rootfs'] !== undefined) return 'an image config; use the CID of the layout, index or manifest that names it'
  const keys = Object.keys(value).slice(0, NAMES_SHOWN).map((key) => JSON.stringify(key.slice(0, 40)))
  return keys.length === 0 ? 'an empty JSON object' : `a JSON object with the keys ${keys.join(', ')}, no manifest, index or descriptor`
}

/** @throws NOT_OCI, UNSUPPORTED unless the bytes are an oci-layout file of version 1.x (image-spec image-layout.md). */
export function checkLayoutFile (bytes: Uint8Array, what: string): void {
  const value = parseStrictJson(bytes, { what, code: 'NOT_OCI', bytesMax: MANIFEST_BYTES_MAX })
  const version = new Fields(value, what, ['imageLayoutVersion']).string('imageLayoutVersion')
  if (!/^1\.\d+\.\d+$/.test(version)) {
    throw new SnapshotterError('UNSUPPORTED', `${what} states version ${JSON.stringify(version.slice(0, 40))}; 1.x is supported`)
  }
}
