// An image manifest, OCI or Docker schema 2: one config and at least one layer. An artifact can be told from an image
// (`isArtifact`), so that an index may list both; `imageLayers` holds every other rule, and refuses.
import { SnapshotterError } from '../base/errors.ts'
import { IMAGE_BYTES_MAX, LAYER_BYTES_MAX, LAYERS_MAX } from '../base/limits.ts'
import { type Descriptor, readDescriptor } from './descriptor.ts'
import { documentFields, statedType } from './index-document.ts'
import { compressionOf, DOCKER_CONFIG, DOCKER_MANIFEST, isConfigType, isManifestType, OCI_MANIFEST, refuseType } from './media-types.ts'

export interface ManifestDocument {
  readonly mediaType: string
  readonly artifactType: string | null
  readonly config: Descriptor
  readonly layers: readonly Descriptor[]
}

/**
 * `mediaType` is what the descriptor says, or null where there is no descriptor.
 * @throws NOT_OCI, MEDIA_TYPE_UNSUPPORTED (schema 1), LIMIT_EXCEEDED; `what` names the document.
 */
export function readManifest (bytes: Uint8Array, mediaType: string | null, what: string): ManifestDocument {
  const fields = documentFields(bytes, what)
  const stated = statedType(fields, mediaType)
  if (stated !== null && !isManifestType(stated)) refuseType(stated, what)
  for (const key of ['manifests', 'fsLayers']) {
    if (fields.has(key)) fields.refuse(`has both "layers" and "${key}": it could be read as a manifest and as something else`)
  }
  const entries = fields.array('layers')
  if (entries.length > LAYERS_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${what} has ${entries.length} layers, limit ${LAYERS_MAX}`)
  }
  const config = readDescriptor(fields.value('config'), `${what}, config`)
  return {
    mediaType: stated ?? (config.mediaType === DOCKER_CONFIG ? DOCKER_MANIFEST : OCI_MANIFEST),
    artifactType: fields.optionalString('artifactType'),
    config,
    layers: entries.map((entry, at) => readDescriptor(entry, `${what}, layer ${at}`))
  }
}

/** True for signatures, SBOMs, SOCI indexes and the like: anything whose config is no image config. */
export function isArtifact (manifest: ManifestDocument): boolean {
  return manifest.artifactType !== null || !isConfigType(manifest.config.mediaType)
}

/** @throws MEDIA_TYPE_UNSUPPORTED, NOT_OCI (no layers), LIMIT_EXCEEDED (bytes of one layer or of all). */
export function imageLayers (manifest: ManifestDocument, what: string): readonly Descriptor[] {
  if (isArtifact(manifest)) {
    const type = manifest.artifactType ?? manifest.config.mediaType
    throw new SnapshotterError('MEDIA_TYPE_UNSUPPORTED', `${what} is an artifact (${JSON.stringify(type.slice(0, 120))}), not an image`)
  }
  if (manifest.layers.length === 0) throw new SnapshotterError('NOT_OCI', `${what} has no layers; an image needs at least one`)
  let total = 0
  for (const [at, layer] of manifest.layers.entries()) {
    compressionOf(layer.mediaType, `${what}, layer ${at}`)
    limit(layer.size, LAYER_BYTES_MAX, `${what}, layer ${at}`)
    total += layer.size
  }
  limit(total, IMAGE_BYTES_MAX, `${what}, all layers`)
  return manifest.layers
}

function limit (bytes: number, max: number, what: string): void {
  if (bytes > max) throw new SnapshotterError('LIMIT_EXCEEDED', `${what}: ${bytes} bytes, limit ${max}`)
}
