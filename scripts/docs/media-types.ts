// What the code says of every media type it knows by name, and of examples of those it refuses by kind.
import { isSnapshotterError } from '../../src/base/errors.ts'
import * as known from '../../src/oci/media-types.ts'
import { checkLayerMediaType } from '../../src/layer/media-type.ts'
import { code, table } from './markdown.ts'

const FOREIGN = [
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  `${known.OCI_LAYER_GZIP}+encrypted`
]
/** Those of OCI first. */
const names = Object.values(known).filter((value) => typeof value === 'string').sort((one, other) => Number(isDocker(one)) - Number(isDocker(other)))

/** Indexes, manifests and configs. */
export function documentTypes (): string {
  const rows = names.filter((name) => !isLayer(name)).map((name) => [code(name), kindOf(name)])
  return table(['media type', ''], rows)
}

export function layerTypes (): string {
  const rows = [...names.filter(isLayer), ...FOREIGN].map((name) => [code(name), refusal(() => {
    known.compressionOf(name, 'it')
    checkLayerMediaType(name, 'it')
  }) ?? 'runs'])
  return table(['media type', ''], rows)
}

function isLayer (name: string): boolean {
  return /layer|rootfs/.test(name)
}

function isDocker (name: string): boolean {
  return name.startsWith('application/vnd.docker.')
}

function kindOf (name: string): string {
  if (known.isIndexType(name)) return 'index: one image is chosen by platform'
  if (known.isManifestType(name)) return 'manifest of an image'
  if (known.isConfigType(name)) return 'config of an image'
  return refusal(() => known.refuseType(name, 'it')) ?? ''
}

/** `CODE: why`, without the name of the type, which stands beside it; null when nothing is refused. */
function refusal (work: () => void): string | null {
  try {
    work()
    return null
  } catch (error) {
    if (!isSnapshotterError(error)) throw error
    return error.line.replace(': it ', ': ').replace(/ \("[^"]*"\)/, '').replace(/ (?:has )?the media type "[^"]*"[;,]? ?/, ' ')
  }
}
