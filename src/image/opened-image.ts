// One image's manifest and config, read and held against each other: layers, diffIDs and the platform that index and config
// must agree on.
import { SnapshotterError } from '../base/errors.ts'
import { type ConfigDocument, readConfig } from '../oci/config-document.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import { imageLayers, isArtifact, readManifest } from '../oci/manifest-document.ts'
import { formatPlatform, type Platform } from '../oci/platform.ts'
import type { BlobFinder } from './blob-finder.ts'
import type { VerifiedDocument } from './plan.ts'

export interface OpenedImage {
  readonly manifest: VerifiedDocument
  readonly configDocument: VerifiedDocument
  readonly config: ConfigDocument
  readonly platform: Platform
  readonly layers: readonly Descriptor[]
}

/**
 * `stated` is the platform that the index gives the manifest, or null.
 * @throws NOT_OCI, MEDIA_TYPE_UNSUPPORTED, LIMIT_EXCEEDED, DIGEST_MISMATCH, and what the sources throw.
 */
export async function openImage (
  manifest: VerifiedDocument, stated: Platform | null, root: string, finder: BlobFinder
): Promise<OpenedImage> {
  const what = `manifest ${manifest.digest} of ${root}`
  const document = readManifest(manifest.bytes, manifest.mediaType, what)
  const layers = imageLayers(document, what)
  const configDocument = await finder.document(document.config, 'config')
  const config = readConfig(configDocument.bytes, layers.length, `config ${configDocument.digest} of ${root}`)
  if (stated !== null && !agree(stated, config)) {
    throw new SnapshotterError('NOT_OCI',
      `${what}: the index says ${formatPlatform(stated)}, the config says ${formatPlatform(config.platform)}`)
  }
  return { manifest, configDocument, config, platform: stated ?? config.platform, layers }
}

export function isArtifactDocument (manifest: VerifiedDocument, root: string): boolean {
  return isArtifact(readManifest(manifest.bytes, manifest.mediaType, `manifest ${manifest.digest} of ${root}`))
}

/** Many builders leave the variant out of the config: then the index alone states it. */
function agree (stated: Platform, { platform, statesVariant }: ConfigDocument): boolean {
  return stated.os === platform.os && stated.architecture === platform.architecture &&
    (stated.variant === platform.variant || !statesVariant)
}
