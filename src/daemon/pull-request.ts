// What `pull` asks the daemon for, and its check: the socket is root's, but an older or newer command line may be at its other end.
import { SnapshotterError } from '../base/errors.ts'

export interface PullRequest {
  readonly reference: string
  readonly namespace: string
  /** Of the image record; null: the grammar-legal spelling of the reference. */
  readonly name: string | null
  readonly snapshotter: string
  readonly gateways: readonly string[]
  readonly platform: string | null
}

const isText = (value: unknown): boolean => typeof value === 'string'
const SHAPE: Readonly<Record<keyof PullRequest, (value: unknown) => boolean>> = {
  reference: isText,
  namespace: isText,
  name: (value) => value === null || isText(value),
  snapshotter: isText,
  gateways: (value) => Array.isArray(value) && value.every(isText),
  platform: (value) => value === null || isText(value)
}

/** @throws INVALID_ARGUMENT with the first key that is missing or of another type. */
export function asPullRequest (body: unknown): PullRequest {
  if (typeof body !== 'object' || body === null) throw new SnapshotterError('INVALID_ARGUMENT', 'pull: the request is no object')
  const values = body as Readonly<Record<string, unknown>>
  const wrong = Object.entries(SHAPE).find(([key, fits]) => !fits(values[key]))
  if (wrong !== undefined) {
    throw new SnapshotterError('INVALID_ARGUMENT', `pull: ${wrong[0]} is missing or of another type; are command and daemon of one version?`)
  }
  return body as PullRequest
}
