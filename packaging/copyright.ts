// debian/copyright, in the machine-readable form: ours, Node's, each library's that the native program has within it, each
// package's from npm. Texts of licences stay where their packages have them.
import { readFileSync } from 'node:fs'
import type { ProductionPackage } from './production.ts'

/** Debian packages whose static libraries are linked in; each has a file of this kind. */
export const LINKED_IN: readonly string[] = ['libssl-dev', 'zlib1g-dev', 'libdeflate-dev']
const BASE = 'usr/lib/ipfs-snapshotter'

export function copyright (packages: readonly ProductionPackage[]): string {
  const ours = paragraph('*', 'the authors of ipfs-snapshotter', 'Apache-2.0', 'The text is in /usr/share/common-licenses/Apache-2.0.')
  const native = paragraph(`${BASE}/bin/ipfs-snapshotter-native`, 'the authors of ipfs-snapshotter, and of what is linked in', 'Apache-2.0',
    `OpenSSL, zlib and libdeflate are linked in: /usr/share/doc/ipfs-snapshotter/licences has what Debian says of ${LINKED_IN.join(', ')}.` +
    ' So are libstdc++ and libgcc, under the GPL with the GCC Runtime Library Exception.')
  const rest = packages.map(({ name, place, version, license }) => {
    const files = name.startsWith('node-linux-') ? `${BASE}/bin/node ${BASE}/${place}/*` : `${BASE}/${place}/*`
    return paragraph(files, `the authors of ${name} ${version}`, license.replace(/\s+/g, ' '), `Its own files, in /${BASE}/${place}, say more.`)
  })
  return ['Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: ipfs-snapshotter', ours, native, ...rest].join('\n\n') + '\n'
}

export function linkedInLicence (name: string): string {
  return readFileSync(`/usr/share/doc/${name}/copyright`, 'utf8')
}

function paragraph (files: string, who: string, license: string, comment: string): string {
  return `Files: ${files}\nCopyright: ${who}\nLicense: ${license}\nComment: ${comment}`
}
