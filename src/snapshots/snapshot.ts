// The vocabulary of containerd's snapshotters: `key` names an active or view snapshot, `name` a committed one; both
// are opaque strings in one namespace. Fields and meanings: containerd core/snapshots/snapshotter.go.

import { labelAt } from '../base/filters.ts'
import type { Labels } from '../base/labels.ts'

export type Kind = 'view' | 'active' | 'committed'

export interface SnapshotInfo {
  /** Key or name. */
  readonly name: string
  /** Name of the parent, empty for none. */
  readonly parent: string
  readonly kind: Kind
  /** Nanoseconds since 1970. */
  readonly createdNs: bigint
  readonly updatedNs: bigint
  readonly labels: Labels
}

export interface Usage {
  /** Bytes on disk of what the snapshot itself holds, without its parents. */
  readonly size: number
  readonly inodes: number
}

export const NO_USAGE: Usage = { size: 0, inodes: 0 }

/** One mount(2) call as containerd wants it: option strings stay separate. */
export interface Mount {
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

/** The chain ID that a Prepare stands for; its presence asks for a remote snapshot. */
export const LABEL_SNAPSHOT_REF = 'containerd.io/snapshot.ref'
/** Only keys below this prefix (and the one above) travel from clients through containerd to a snapshotter. */
export const LABEL_PREFIX = 'containerd.io/snapshot/'
/** The chain ID that the layer of a Prepare lies on; containerd 2.3 and later say it also when they leave the parent out to rebase later. */
export const LABEL_PARENT_CHAIN = 'containerd.io/snapshot/parent-chain-id'
/** Marks what we mounted lazily, for people who list snapshots. */
export const LABEL_LAZY = 'containerd.io/snapshot/ipfs.lazy'

/** For filters; null when absent. `name` and `parent` are always there, perhaps empty. */
export function snapshotField (info: SnapshotInfo, path: readonly string[]): string | null {
  switch (path[0]) {
    case 'name': return info.name
    case 'parent': return info.parent
    case 'kind': return info.kind
    case 'labels': return labelAt(info.labels, path)
    default: return null
  }
}
