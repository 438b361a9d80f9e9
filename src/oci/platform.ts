// Platforms as `os/architecture[/variant]`, normalised the way containerd does (platforms/database.go): arm64/v8 is arm64,
// arm is arm/v7, amd64/v1 is amd64. A variant is never approximated: linux/amd64/v3 is not offered to linux/amd64.
import { SnapshotterError } from '../base/errors.ts'
import { Fields } from './fields.ts'
import type { JsonValue } from './strict-json.ts'

export interface Platform {
  readonly os: string
  readonly architecture: string
  /** Empty when there is none (after normalising). */
  readonly variant: string
}

const NODE_ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }
const ALIASES: Readonly<Record<string, string>> = { x86_64: 'amd64', 'x86-64': 'amd64', aarch64: 'arm64', armhf: 'arm', i386: '386' }

/** Linux on this machine's processor: we mount with a Linux kernel, wherever the client is. */
export function hostPlatform (nodeArchitecture: string = process.arch): Platform {
  return normalise({ os: 'linux', architecture: NODE_ARCHITECTURES[nodeArchitecture] ?? nodeArchitecture, variant: '' })
}

/** @throws INVALID_ARGUMENT */
export function parsePlatform (text: string): Platform {
  const match = /^([a-z0-9]+)\/([a-z0-9_-]+)(?:\/([a-z0-9._]+))?$/.exec(text)
  if (match === null) {
    throw new SnapshotterError('INVALID_ARGUMENT',
      `not a platform: ${JSON.stringify(text.slice(0, 60))}; write linux/amd64 or linux/arm/v7`)
  }
  const [, os = '', architecture = '', variant = ''] = match
  return normalise({ os, architecture: ALIASES[architecture] ?? architecture, variant })
}

/** The `platform` of a descriptor; null when it has none. @throws NOT_OCI */
export function readPlatform (value: JsonValue | undefined, what: string): Platform | null {
  if (value === undefined || value === null) return null
  return platformOf(new Fields(value, `${what} platform`, ['os', 'architecture', 'variant', 'os.version', 'os.features']))
}

/** The three fields as configs and descriptors carry them. @throws NOT_OCI */
export function platformOf (fields: Fields): Platform {
  const [os, architecture] = [fields.string('os'), fields.string('architecture')]
  return normalise({ os, architecture, variant: fields.optionalString('variant') ?? '' })
}

export function samePlatform (one: Platform, other: Platform): boolean {
  return one.os === other.os && one.architecture === other.architecture && one.variant === other.variant
}

export function formatPlatform ({ os, architecture, variant }: Platform): string {
  return variant === '' ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`
}

function normalise ({ os, architecture, variant }: Platform): Platform {
  const implied = (architecture === 'arm64' && variant === 'v8') || (architecture === 'amd64' && variant === 'v1')
  if (implied) return { os, architecture, variant: '' }
  if (architecture === 'arm' && variant === '') return { os, architecture, variant: 'v7' }
  return { os, architecture, variant }
}
