// What long work tells whoever watches: events with fields. The command line renders them, the control socket carries them;
// docs/PROGRESS.md says what becomes of them.

export type ProgressEvent =
  /** A phase of one item starts, its earlier phases are over. `total` is in bytes; 0: not known, or nothing that is counted in bytes. */
  | { readonly event: 'begin', readonly item: string, readonly phase: string, readonly total: number }
  /** More bytes than before. */
  | { readonly event: 'advance', readonly item: string, readonly bytes: number }
  /** What became of it; empty when there is nothing to say. */
  | { readonly event: 'end', readonly item: string, readonly text: string }
  /** A warning is shown even to who wants no progress. */
  | { readonly event: 'note', readonly text: string, readonly warning?: true }

export type Report = (event: ProgressEvent) => void

/** What came over the control socket, from a daemon of perhaps another version; null for what we do not know. */
export function progressEventOf (value: object): ProgressEvent | null {
  const { event, item, phase, total, bytes, text } = value as Readonly<Record<string, unknown>>
  const isKnown = event === 'note'
    ? typeof text === 'string'
    : typeof item === 'string' && (event === 'begin'
      ? typeof phase === 'string' && typeof total === 'number'
      : event === 'advance' ? typeof bytes === 'number' : event === 'end' && typeof text === 'string')
  return isKnown ? value as ProgressEvent : null
}
