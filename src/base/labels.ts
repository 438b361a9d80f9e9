// Labels of snapshots and blobs: what is accepted, and what an update mask does to them. Rules: containerd pkg/labels and
// core/snapshots/storage UpdateInfo; a label with an empty value is no label.
import { SnapshotterError } from './errors.ts'
import { LABEL_BYTES_MAX, LABELS_MAX } from './limits.ts'

export type Labels = Readonly<Record<string, string>>

/**
 * A copy without empty values.
 * @throws INVALID_ARGUMENT when a key is empty, a pair is over `LABEL_BYTES_MAX` or there are over `LABELS_MAX` of them.
 */
export function acceptLabels (labels: Labels): Labels {
  const entries = Object.entries(labels).filter(([, value]) => value !== '')
  if (entries.length > LABELS_MAX) {
    throw new SnapshotterError('INVALID_ARGUMENT', `${entries.length} labels on one object, limit ${LABELS_MAX}`)
  }
  for (const [key, value] of entries) {
    if (key === '') throw new SnapshotterError('INVALID_ARGUMENT', 'a label has an empty key')
    const bytes = Buffer.byteLength(key) + Buffer.byteLength(value)
    if (bytes > LABEL_BYTES_MAX) {
      throw new SnapshotterError('INVALID_ARGUMENT', `label ${JSON.stringify(key.slice(0, 64))} has ${bytes} bytes with its value, limit ${LABEL_BYTES_MAX}`)
    }
  }
  return Object.fromEntries(entries)
}

/**
 * What `paths` (`labels`, `labels.<key>`; none means all) make of `current` when `wanted` comes in.
 * @throws INVALID_ARGUMENT for any other field: nothing else can change.
 */
export function applyMask (current: Labels, wanted: Labels, paths: readonly string[]): Labels {
  if (paths.length === 0) return acceptLabels(wanted)
  const next = new Map(Object.entries(current))
  for (const path of paths) {
    if (path === 'labels') {
      next.clear()
      for (const [key, value] of Object.entries(wanted)) next.set(key, value)
    } else if (path.startsWith('labels.')) {
      const key = path.slice('labels.'.length)
      next.set(key, Object.hasOwn(wanted, key) ? wanted[key] ?? '' : '')
    } else {
      throw new SnapshotterError('INVALID_ARGUMENT', `cannot update field ${JSON.stringify(path)} , only labels`)
    }
  }
  return acceptLabels(Object.fromEntries(next))
}
