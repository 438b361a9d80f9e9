// The control files of the Debian package, and its changelog.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Machine } from './machine.ts'

interface Facts {
  readonly version: string
  readonly description: string
  readonly machine: Machine
  readonly depends: string
  readonly installedBytes: number
}

const MAINTAINER = 'the authors of ipfs-snapshotter <ipfs-snapshotter@localhost>'

export function control ({ version, description, machine, depends, installedBytes }: Facts): string {
  return [
    'Package: ipfs-snapshotter',
    `Version: ${version}`,
    `Architecture: ${machine.debian}`,
    `Maintainer: ${MAINTAINER}`,
    `Installed-Size: ${Math.ceil(installedBytes / 1024)}`,
    `Depends: ${depends}`,
    'Recommends: containerd | containerd.io, runc, ca-certificates, libisal2',
    'Section: admin',
    'Priority: optional',
    `Description: ${description}`,
    ' An image named by its CID is pulled lazily from gateways that nobody has to',
    ' trust, every byte is checked, and containerd runs it like any other image.',
    ' .',
    ' Node and the libraries that it needs are part of this package.',
    ''
  ].join('\n')
}

/** `when`: seconds since 1970. */
export function changelog (version: string, when: number): string {
  const date = new Date(when * 1000).toUTCString().replace('GMT', '+0000')
  return `ipfs-snapshotter (${version}) unstable; urgency=medium\n\n  * Built from the sources of ${version}.\n\n -- ${MAINTAINER}  ${date}\n`
}

/** For `dpkg --verify`. `paths` from `tree`. */
export function md5sums (tree: string, paths: readonly string[]): string {
  return paths.filter((path) => !path.startsWith('etc/'))
    .map((path) => `${createHash('md5').update(readFileSync(join(tree, path))).digest('hex')}  ${path}\n`).join('')
}
