// An image index (or Docker manifest list), and a layout's index.json: a list of descriptors. Refuses what could also be
// read as a manifest (GHSA-5j5w-g665-5m35) and more entries than any image has.
import { SnapshotterError } from '../base/errors.ts'
import { INDEX_MANIFESTS_MAX, MANIFEST_BYTES_MAX } from '../base/limits.ts'
import { type Descriptor, readDescriptor } from './descriptor.ts'
import { Fields } from './fields.ts'
import { DOCKER_SCHEMA_1, isIndexType, OCI_INDEX, refuseType } from './media-types.ts'
import { parseStrictJson } from './strict-json.ts'

export interface IndexDocument {
  readonly mediaType: string
  readonly manifests: readonly Descriptor[]
}

/** Every key of an index or a manifest: both are checked for all of them, since a document must be only one. */
export const DOCUMENT_KEYS = [
  'schemaVersion', 'mediaType', 'artifactType', 'config', 'layers', 'manifests', 'subject', 'annotations', 'fsLayers', 'signatures'
] as const

/**
 * `mediaType` is what the descriptor says, or null where there is no descriptor (a bare index, index.json).
 * @throws NOT_OCI, MEDIA_TYPE_UNSUPPORTED, LIMIT_EXCEEDED; `what` names the document.
 */
export function readIndex (bytes: Uint8Array, mediaType: string | null, what: string): IndexDocument {
  const fields = documentFields(bytes, what)
  const stated = statedType(fields, mediaType)
  const type = stated ?? OCI_INDEX
  if (!isIndexType(type)) refuseType(type, what)
  for (const key of ['layers', 'config', 'fsLayers']) {
    if (fields.has(key)) fields.refuse(`has both "manifests" and "${key}": it could be read as an index and as a manifest`)
  }
  const entries = fields.array('manifests')
  if (entries.length > INDEX_MANIFESTS_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${what} lists ${entries.length} manifests, limit ${INDEX_MANIFESTS_MAX}`)
  }
  return { mediaType: type, manifests: entries.map((entry, at) => readDescriptor(entry, `${what}, entry ${at}`)) }
}

/** The object of a manifest or index, parsed strictly and of schema version 2. */
export function documentFields (bytes: Uint8Array, what: string): Fields {
  const value = parseStrictJson(bytes, { what, code: 'NOT_OCI', bytesMax: MANIFEST_BYTES_MAX })
  const fields = new Fields(value, what, DOCUMENT_KEYS)
  const version = fields.value('schemaVersion')
  if (version === 1) refuseType(DOCKER_SCHEMA_1, what)
  if (version !== 2) {
    fields.refuse(`has schemaVersion = ${version === undefined ? 'nothing' : JSON.stringify(version).slice(0, 40)}; 2 was expected`)
  }
  return fields
}

/** The type that document and descriptor agree on; null when neither states one. @throws NOT_OCI when they differ. */
export function statedType (fields: Fields, expected: string | null): string | null {
  const own = fields.optionalString('mediaType')
  if (own !== null && expected !== null && own !== expected) {
    fields.refuse(`calls itself ${JSON.stringify(own.slice(0, 120))}, its descriptor says ${JSON.stringify(expected)}`)
  }
  return own ?? expected
}
