// User namespaces: two labels say which ids of the host a container's ids are, and whoever mounts shifts the files of the
// layers by them. Labels, mount options and the owner of the upper directory as containerd plugins/snapshots/overlay has them
// for a snapshotter with the capability `remap-ids`.
import { SnapshotterError } from '../base/errors.ts'
import type { Labels } from '../base/labels.ts'
import { ID_MAPPINGS_MAX } from '../base/limits.ts'

export const LABEL_UID_MAPPING = 'containerd.io/snapshot/uidmapping'
export const LABEL_GID_MAPPING = 'containerd.io/snapshot/gidmapping'
const NO_ID = 2 ** 32 - 1 // (uid_t) -1

export interface Owner { readonly uid: number, readonly gid: number }

export interface IdMap {
  /** Who the container's root is on the host. */
  readonly root: Owner
  /** Tell the mounter to shift what lies below. */
  readonly options: readonly string[]
}

/** Resolves when mounts with shifted ids can be made here. @throws UNSUPPORTED, ENVIRONMENT with the reason. */
export type RequireShifting = (onLazyLayers: boolean) => Promise<void>

/** Null without the labels. @throws INVALID_ARGUMENT for one alone (mounters ignore that), and for what is no mapping of root. */
export function idMapOf (labels: Labels): IdMap | null {
  const [uids, gids] = [labels[LABEL_UID_MAPPING], labels[LABEL_GID_MAPPING]]
  if (uids === undefined && gids === undefined) return null
  if (uids === undefined || gids === undefined) {
    const missing = uids === undefined ? LABEL_UID_MAPPING : LABEL_GID_MAPPING
    throw new SnapshotterError('INVALID_ARGUMENT', `ids are shifted by both labels or not at all: ${missing} is missing`)
  }
  return {
    root: { uid: hostRoot(LABEL_UID_MAPPING, uids), gid: hostRoot(LABEL_GID_MAPPING, gids) },
    options: [`uidmap=${uids}`, `gidmap=${gids}`]
  }
}

/** A client without an id-mapping snapshotter has shifted a copy of the image itself, and says the labels all the same. */
export function isShifted ({ root }: IdMap, nearest: Owner): boolean {
  return nearest.uid === root.uid && nearest.gid === root.gid
}

/** `text`: CONTAINER:HOST:SIZE[,…] */
function hostRoot (label: string, text: string): number {
  const mappings = text.split(',')
  const refuse = (why: string): never => { throw new SnapshotterError('INVALID_ARGUMENT', `label ${label} ${JSON.stringify(text.slice(0, 100))}: ${why}`) }
  if (mappings.length > ID_MAPPINGS_MAX) refuse(`${mappings.length} mappings, limit ${ID_MAPPINGS_MAX}`)
  const ranges = mappings.map((mapping) => {
    const [, container = NO_ID, host = NO_ID, size = 0] = (/^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(mapping) ?? []).map(Number)
    if (size === 0 || Math.max(container, host) + size > NO_ID) refuse('a mapping is CONTAINER:HOST:SIZE, in 32 bits')
    return { container, host }
  })
  return ranges.find(({ container }) => container === 0)?.host ?? refuse('the container\'s root is not mapped')
}
