// What publishing tells whoever watches: events with fields, rendered by the command line.

export type ProgressEvent =
  /** A phase of one item starts; `total` is in bytes. */
  | { readonly event: 'begin', readonly item: string, readonly phase: string, readonly total: number }
  | { readonly event: 'advance', readonly item: string, readonly bytes: number }
  | { readonly event: 'end', readonly item: string, readonly text: string }
  | { readonly event: 'note', readonly text: string }

export type Report = (event: ProgressEvent) => void
