// The one CAR request that brings a list of wanted blocks: `/ipfs/{root}[/names]` with `dag-scope` and `entity-bytes`.
import type { WantList } from './block-source.ts'
import { SnapshotterError } from '../base/errors.ts'

/** The span of the file that the missing blocks are needed for; `bytes` is 0 outside files. */
export interface CarRange {
  readonly from: number
  readonly bytes: number
}

export function carRange (wants: WantList): CarRange {
  if (wants.target?.scope !== 'range') return { from: 0, bytes: 0 }
  let from = Infinity
  let to = 0
  for (const [, need] of wants.pending()) {
    from = Math.min(from, need.from)
    to = Math.max(to, need.to)
  }
  return to > from ? { from, bytes: to - from } : { from: 0, bytes: 0 }
}

export function carPath ({ target }: WantList, { from, bytes }: CarRange): string {
  if (target === null) throw new SnapshotterError('INTERNAL', 'these blocks have no common root')
  const path = [target.root.toString(), ...target.names.map(encodeURIComponent)].join('/')
  const range = bytes === 0 ? '' : `&entity-bytes=${from}:${from + bytes - 1}`
  return `/ipfs/${path}?format=car&dag-scope=${target.scope === 'block' ? 'block' : 'entity'}${range}`
}
