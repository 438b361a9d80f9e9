// A snapshotter in a temporary folder for one test, with lazy layers that the test controls.
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Log } from '../../src/base/log.ts'
import type { SnapshotInfo } from '../../src/snapshots/snapshot.ts'
import type { Snapshotter } from '../../src/snapshots/snapshotter.ts'
import { Snapshotters } from '../../src/snapshots/snapshotters.ts'
import { digestOf } from '../../src/verify/digest.ts'
import { BindLayers } from './bind-layers.ts'
import { wipe } from './mounts.ts'

export const REF = 'containerd.io/snapshot.ref'

export interface SnapshotScene {
  readonly root: string
  readonly layers: BindLayers
  readonly logged: string[]
  readonly snapshotters: () => Snapshotters
  readonly sn: () => Snapshotter
  /** Makes a known layer; answers its chain ID. */
  readonly layer: (name: string) => string
  /** As after SIGKILL: nothing is closed properly by us, the new one opens the same root. */
  readonly restart: (layers?: BindLayers, meanwhile?: () => void) => Promise<void>
  readonly directories: () => string[]
  readonly all: () => SnapshotInfo[]
  readonly end: () => Promise<void>
}

export async function snapshotScene (options: { readonly strict?: boolean } = {}): Promise<SnapshotScene> {
  const folder = mkdtempSync(join(tmpdir(), 'snapshots-'))
  const root = join(folder, 'root')
  const logged: string[] = []
  const note = (fields: object, event: string): void => { logged.push(`${event} ${JSON.stringify(fields)}`) }
  const log: Log = { debug: note, info: note, warn: note, error: note }
  let layers = new BindLayers()
  const open = async (): Promise<[Snapshotters, Snapshotter]> => {
    const snapshotters = await Snapshotters.open({ root, layers, log, ...options })
    return [snapshotters, await snapshotters.get('ipfs')]
  }
  let [snapshotters, snapshotter] = await open()

  return {
    root,
    logged,
    get layers () { return layers },
    snapshotters: () => snapshotters,
    sn: () => snapshotter,
    layer: (name) => {
      const directory = join(folder, 'layers', name)
      mkdirSync(directory, { recursive: true })
      writeFileSync(join(directory, name), `content of ${name}\n`)
      const chainId = digestOf(Buffer.from(name))
      layers.known.set(chainId, directory)
      return chainId
    },
    restart: async (next = layers, meanwhile = () => {}) => {
      await snapshotters.close()
      meanwhile()
      layers = next
      ;[snapshotters, snapshotter] = await open()
    },
    directories: () => readdirSync(join(root, 'snapshots/ipfs')).sort(),
    all: () => [...snapshotter.list([])].flat(),
    end: async () => {
      await snapshotters.close()
      wipe(folder)
    }
  }
}
