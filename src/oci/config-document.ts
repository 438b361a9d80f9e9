// An image config: the platform it is for and the diffIDs of its layers (image-spec config.md). All else in it belongs to
// whoever starts the container.
import { CONFIG_BYTES_MAX } from '../base/limits.ts'
import type { Digest } from '../verify/digest.ts'
import { Fields } from './fields.ts'
import { type Platform, platformOf } from './platform.ts'
import { parseStrictJson } from './strict-json.ts'

export interface ConfigDocument {
  readonly platform: Platform
  /** False when `platform.variant` is only what the architecture implies. */
  readonly statesVariant: boolean
  readonly diffIds: readonly Digest[]
}

const CONFIG_KEYS = [
  'created', 'author', 'architecture', 'os', 'variant', 'os.version', 'os.features', 'config', 'rootfs', 'history'
] as const

/** @throws NOT_OCI, LIMIT_EXCEEDED; `layerCount` is the manifest's. */
export function readConfig (bytes: Uint8Array, layerCount: number, what: string): ConfigDocument {
  const value = parseStrictJson(bytes, { what, code: 'NOT_OCI', bytesMax: CONFIG_BYTES_MAX })
  const fields = new Fields(value, what, CONFIG_KEYS)
  const rootfs = new Fields(fields.value('rootfs'), `${what}, rootfs`, ['type', 'diff_ids'])
  const type = rootfs.string('type')
  if (type !== 'layers') rootfs.refuse(`has type = ${JSON.stringify(type.slice(0, 40))}; "layers" was expected`)
  const diffIds = rootfs.digests('diff_ids')
  if (diffIds.length !== layerCount) rootfs.refuse(`has ${diffIds.length} diff_ids for ${layerCount} layers`)
  return { platform: platformOf(fields), statesVariant: fields.optionalString('variant') !== null, diffIds }
}
