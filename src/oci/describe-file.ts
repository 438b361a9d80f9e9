// Says in a few words what a file is that should have been an OCI document: from its first bytes, for error messages only.
import { excerpt } from '../base/bytes.ts'

const TAR_RECORD = 512
const PUBLISH = 'publish it with `ipfs-snapshotter publish FILE` and use the CID that it prints'

/** `head` is the start of a file of `size` bytes. */
export function describeFile (head: Uint8Array, size: number): string {
  if (size === 0) return 'an empty file'
  const tar = tarNames(head)
  if (tar.length > 0) return describeTar(tar, size)
  const found = SIGNATURES.find(({ matches }) => matches(head))
  if (found !== undefined) return `${found.is} (${size} bytes)${found.hint === '' ? '' : `; ${found.hint}`}`
  return `a file of ${size} bytes that begins with ${excerpt(head, 24)}, not an OCI document`
}

interface Signature { readonly matches: (head: Uint8Array) => boolean, readonly is: string, readonly hint: string }

const SIGNATURES: readonly Signature[] = [
  {
    matches: (head) => /^\s*(?:<!--[^>]*-->\s*)*<(?:!doctype\s+html|html|head|body)\b/i.test(text(head)),
    is: 'an HTML page',
    hint: 'the CID names a web page, perhaps what a gateway showed, not the image'
  },
  { matches: (head) => /^\s*<(?:\?xml|svg)/i.test(text(head)), is: 'an XML file', hint: '' },
  {
    matches: (head) => /^\s*\[/.test(text(head)),
    is: 'a JSON list',
    hint: 'if it is the manifest.json of a docker archive: publish the archive'
  },
  {
    matches: bytes(0x1f, 0x8b),
    is: 'a gzip file',
    hint: `if it is an image archive, ${PUBLISH}; if it is a layer, use the CID of its image`
  },
  { matches: bytes(0x28, 0xb5, 0x2f, 0xfd), is: 'a zstd file', hint: 'if it is a layer, use the CID of its image' },
  { matches: bytes(0x50, 0x4b, 0x03, 0x04), is: 'a ZIP archive', hint: '' },
  {
    matches: (head) => text(head).slice(1, 12).includes('\u00a2eroots'),
    is: 'a CAR file',
    hint: 'import it (ipfs dag import) and use the root it names'
  },
  { matches: bytes(0x7f, 0x45, 0x4c, 0x46), is: 'an ELF program', hint: '' }
]

function bytes (...magic: number[]): (head: Uint8Array) => boolean {
  return (head) => magic.every((byte, at) => head[at] === byte)
}

function text (head: Uint8Array): string {
  return Buffer.from(head.subarray(0, 512)).toString('latin1')
}

function describeTar (names: readonly string[], size: number): string {
  const isOci = names.some((name) => /^(?:\.\/)?(?:oci-layout$|index\.json$|blobs\/)/.test(name))
  const isDocker = names.some((name) => /^(?:\.\/)?(?:manifest\.json$|repositories$|[0-9a-f]{64}(?:\.json|\.tar|\/))/.test(name))
  if (isOci) return `an OCI archive, one file of ${size} bytes; ${PUBLISH}`
  if (isDocker) return `a docker archive, one file of ${size} bytes; ${PUBLISH}`
  return `a tar archive of ${size} bytes that begins with ${JSON.stringify(names[0]?.slice(0, 64))}; if it is an image archive, ${PUBLISH}`
}

/** Names of the tar members whose headers stand in `head`; empty when it is no tar. */
function tarNames (head: Uint8Array): string[] {
  const names: string[] = []
  for (let at = 0; at + TAR_RECORD <= head.byteLength;) {
    const header = Buffer.from(head.subarray(at, at + TAR_RECORD)).toString('latin1')
    const size = /^([0-7]+)[\0 ]/.exec(header.slice(124, 136))
    if (header.slice(257, 262) !== 'ustar' || size === null) break
    names.push(header.slice(0, 100).replace(/\0.*$/s, ''))
    at += TAR_RECORD + Math.ceil(Number.parseInt(size[1] ?? '', 8) / TAR_RECORD) * TAR_RECORD
  }
  return names
}
