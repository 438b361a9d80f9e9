// Docker archives of hand-made layers, for tests that need odd ones.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { entry, tar } from '../layer/tar-writer.ts'
import { sha256 } from './published.ts'

export interface DockerImage {
  readonly layers: readonly Uint8Array[]
  /** Overrides what the config says. */
  readonly diffIds?: readonly string[]
  readonly config?: Readonly<Record<string, unknown>>
  readonly manifest?: unknown
}

/** Writes `image.tar` in the folder and gives its path. */
export async function writeDockerImage (folder: string, { layers, diffIds, config, manifest }: DockerImage): Promise<string> {
  const document = { architecture: 'amd64', os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: diffIds ?? layers.map(sha256) }, ...config }
  const path = join(folder, 'image.tar')
  await writeFile(path, tar(
    ...layers.map((layer, at) => entry(`${at}/layer.tar`, { data: layer })),
    entry('config.json', { data: JSON.stringify(document) }),
    entry('manifest.json', {
      data: JSON.stringify(manifest ?? [{ Config: 'config.json', RepoTags: ['odd:latest'], Layers: layers.map((_, at) => `${at}/layer.tar`) }])
    })
  ))
  return path
}
