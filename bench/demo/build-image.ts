// The demo's image from Debian packages: a base layer, a Python science layer and an application layer, as a plain (gzip)
// OCI layout.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { buildDebianTars } from '../images/debian-image.ts'
import { writeLayout } from '../images/oci-layout.ts'

const PACKAGES = ['python3', 'python3-numpy', 'g++', 'ca-certificates']
export const PROGRAM = ['/usr/bin/python3', '/app/main.py']
const MAIN = [
  'import time', 'import numpy',
  "print('numpy', numpy.__version__, 'sum', int(numpy.arange(1000).sum()), flush=True)", ''
].join('\n')

export interface DemoImage {
  /** OCI layout folder with plain gzip layers. */
  readonly layout: string
  /** The tree that the image was made from. */
  readonly rootfs: string
  /** Compressed bytes of all layers. */
  readonly imageBytes: number
}

/** Needs root, mmdebstrap and GNU tar; leaves everything below `folder`, which the caller removes. */
export async function buildDemoImage (folder: string, say: (text: string) => void): Promise<DemoImage> {
  await mkdir(folder, { recursive: true })
  say(`building the image from Debian packages: ${PACKAGES.join(', ')}`)
  const { rootfs, tars } = await buildDebianTars(folder, PACKAGES, { 'app/main.py': MAIN })
  say('compressing three layers')
  const layout = join(folder, 'layout')
  const { imageBytes } = await writeLayout(layout, tars, PROGRAM)
  return { layout, rootfs, imageBytes }
}
