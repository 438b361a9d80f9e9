// An image that a containerd holds as a source to publish from: its content store through its own API, and an index.json
// that names what the image's record points to. Nothing is written there; blobs are read at any place, and the readers check
// them against their digests.
import { hasCode, SnapshotterError } from '../base/errors.ts'
import { ContainerdClient } from '../grpc/containerd-client.ts'
import type { Descriptor } from '../grpc/wire.ts'
import { OCI_INDEX } from '../oci/media-types.ts'
import { parseReference } from '../oci/reference.ts'
import { canonicalReference } from '../oci/spellings.ts'
import { byteSource, endsEarly } from '../publish/byte-source.ts'
import { LAYOUT_FILE, nameAnnotations } from '../publish/docker-archive.ts'
import type { ImageSource, OpenBlob } from '../publish/image-source.ts'

const SCHEME = 'containerd://'

/**
 * `source` is `containerd://NAMESPACE/NAME`, `address` containerd's socket.
 * @throws INVALID_ARGUMENT; NOT_FOUND for the namespace or the name; CONTAINERD when nobody answers there
 */
export async function openContainerdImage (source: string, address: string, signal: AbortSignal): Promise<ImageSource> {
  const [, namespace, name] = /^([A-Za-z0-9][A-Za-z0-9._-]*)\/(.+)$/.exec(source.slice(SCHEME.length)) ?? []
  if (namespace === undefined || name === undefined) {
    throw new SnapshotterError('INVALID_ARGUMENT', `${source} names no namespace and image; write containerd://default/docker.io/library/alpine:latest`)
  }
  const client = new ContainerdClient({ address, namespace, signal })
  try {
    const image = await findImage(client, name)
    return {
      kind: 'image in containerd',
      name: `${SCHEME}${namespace}/${image.name}`,
      layoutFile: LAYOUT_FILE,
      index: indexOf(image.name, image.target),
      remedy: remedyFor(image.name, namespace),
      blob: async (digest) => await openBlob(client, digest),
      close: async () => { client.close() }
    }
  } catch (error) {
    client.close()
    throw error
  }
}

/** By its full name, or as people shorten it. */
async function findImage (client: ContainerdClient, text: string): Promise<{ readonly name: string, readonly target: Descriptor }> {
  for (const name of new Set([text, fullName(text)])) {
    try {
      const { target } = await client.image(name)
      if (target !== null) return { name, target }
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) throw error
    }
  }
  const { namespace } = client
  const namespaces = await client.namespaces()
  const hint = namespaces.includes(namespace)
    ? `\`ctr --namespace ${namespace} images ls -q\` lists what is there`
    : `there is no such namespace, but ${namespaces.length === 0 ? 'none at all' : namespaces.join(', ')}`
  throw new SnapshotterError('NOT_FOUND', `containerd has no image ${text} in namespace ${namespace}; ${hint}`)
}

/** `alpine` is `docker.io/library/alpine:latest`, as docker and nerdctl read it. */
function fullName (text: string): string {
  const [first = '', ...rest] = text.split('/')
  const hasHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost')
  const path = hasHost ? text : `docker.io/${rest.length === 0 ? 'library/' : ''}${text}`
  return /[:@][^/]*$/.test(path) ? path : `${path}:latest`
}

function indexOf (name: string, { mediaType, digest, size }: Descriptor): Buffer {
  const annotations = nameAnnotations(name)
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [{ mediaType, digest, size, annotations }] }))
}

function remedyFor (name: string, namespace: string): string {
  try {
    return `it was pulled lazily, or for other platforms; it is on IPFS already: ${canonicalReference(parseReference(name).cid, null)}`
  } catch {
    return `it was pulled lazily, or for other platforms: \`ctr --namespace ${namespace} content fetch ${name}\` brings the rest ` +
      '(add --all-platforms for all)'
  }
}

async function openBlob (client: ContainerdClient, digest: string): Promise<OpenBlob | null> {
  const info = await client.contentInfo(digest).catch((error: unknown) => {
    if (hasCode(error, 'NOT_FOUND')) return null
    throw error
  })
  if (info === null) return null
  const { size } = info
  const name = `containerd: blob ${digest}`
  const blob = byteSource(name, size, async (target, offset) => {
    const wanted = offset + target.byteLength
    if (offset < 0 || wanted > size) throw endsEarly(name, wanted, size)
    let at = 0
    if (target.byteLength > 0) {
      for await (const piece of client.readContent(digest, offset, target.byteLength)) {
        target.set(piece.subarray(0, target.byteLength - at), at)
        at += piece.byteLength
      }
    }
    if (at < target.byteLength) throw endsEarly(name, wanted, offset + at)
  })
  return { ...blob, close: async () => {} }
}
