// What was tried, and the one line that tells it when everything failed: code, block, every source with its answer and
// milliseconds, a hint (codes: threat notes §14).
import { type ErrorCode, SnapshotterError } from '../base/errors.ts'

export interface Attempt {
  readonly source: string
  readonly code: ErrorCode
  /** What the source did, in few words: `404`, `no answer for 10000 ms`. */
  readonly note: string
  readonly ms: number
  /** Worth asking the same source again shortly. */
  readonly transient: boolean
  /** It only said that it does not offer the format that was asked for. */
  readonly formatRefused: boolean
}

const HINTS: Partial<Record<ErrorCode, string>> = {
  ROOT_NOT_FOUND: 'not pinned or not provided',
  ROOT_UNREACHABLE: 'the sources are out of reach, or it is not pinned',
  GATEWAY_TIMEOUT: 'raise the timeout, add a source, or it is not pinned',
  GATEWAY_RATE_LIMITED: 'wait, or add a source',
  GATEWAY_REFUSED: 'the source refuses this content or our token',
  BLOCK_HASH_MISMATCH: 'the source is broken or lies: use another',
  BLOCK_TOO_LARGE: 'no block is that large: the source is broken or lies',
  CAR_INVALID: 'the source is broken or lies: use another',
  CAR_TRUNCATED: 'the source breaks off: use another'
}

/** A defect of ours, then a block that does not match, outweigh everything else: they are worth somebody's look. */
const ALARMING: readonly ErrorCode[] = ['INTERNAL', 'BLOCK_HASH_MISMATCH', 'BLOCK_TOO_LARGE', 'CAR_INVALID']
const NOTES_MAX = 12

export function fetchFailure (what: string, attempts: readonly Attempt[]): SnapshotterError {
  const code = verdict(attempts)
  const tried = attempts.length === 0 ? 'no source is configured' : describeAttempts(attempts)
  const hint = HINTS[code]
  const said = `${what} could not be fetched (${tried})${hint === undefined ? '' : `; ${hint}`}`
  return new SnapshotterError(code, said, { attempts: attempts.slice(-NOTES_MAX) })
}

function verdict (attempts: readonly Attempt[]): ErrorCode {
  // A CAR that ends early for want of a block is explained by the same source saying, asked for the block alone, that it has it not.
  const explained = ({ source, code }: Attempt, at: number): boolean =>
    code === 'CAR_TRUNCATED' && attempts.slice(at).some((later) => later.source === source && later.code === 'ROOT_NOT_FOUND')
  const telling = attempts.filter((attempt, at) => !attempt.formatRefused && !explained(attempt, at))
  const codes = new Set((telling.length > 0 ? telling : attempts).map(({ code }) => code))
  const alarm = ALARMING.find((code) => codes.has(code))
  if (alarm !== undefined) return alarm
  const [only] = codes
  if (only !== undefined && codes.size === 1) return only
  codes.delete('ROOT_NOT_FOUND')
  const [other] = codes
  // "not here" from the rest adds nothing to one that would have to be asked again, or refuses.
  if (codes.size === 1 && (other === 'GATEWAY_RATE_LIMITED' || other === 'GATEWAY_REFUSED')) return other
  return 'ROOT_UNREACHABLE'
}

export function describeAttempts (attempts: readonly Attempt[]): string {
  const groups = new Map<string, { attempt: Attempt, times: number }>()
  for (const attempt of attempts) {
    const group = groups.get(`${attempt.source} ${attempt.note}`)
    if (group === undefined) groups.set(`${attempt.source} ${attempt.note}`, { attempt, times: 1 })
    else group.times++
  }
  const texts = [...groups.values()].map(({ attempt: { source, note, ms }, times }) =>
    `${source}: ${note}${times > 1 ? ` ${times} times` : ''}, ${Math.round(ms)} ms`)
  const more = texts.length - NOTES_MAX
  return more > 0 ? `${texts.slice(0, NOTES_MAX).join('; ')}; ${more} more` : texts.join('; ')
}
