// The roots of an image at one pinning service: what it has already is left alone, the rest is asked for, and then its word is waited
// for, root by root, until a deadline.
import { CID } from 'multiformats/cid'
import { sleep, systemClock } from '../base/clock.ts'
import { hasCode, messageOf, SnapshotterError } from '../base/errors.ts'
import { PIN_POLL_MS_FIRST, PIN_POLL_MS_MAX } from '../base/limits.ts'
import type { Report } from '../base/report.ts'
import { isCid, quoted } from './answers.ts'
import type { Peers } from './peers.ts'
import { type NewPin, PIN_STATUSES, type PinningService, type RemotePin } from './service.ts'

export interface PinOptions {
  /** Each with the name that the service shows. */
  readonly roots: ReadonlyArray<{ readonly cid: CID, readonly name: string }>
  /** Of whom the service may have the blocks; null when nobody is known. */
  readonly peers: Peers | null
  readonly deadlineMs: number
  readonly report: Report
  readonly signal?: AbortSignal | undefined
  readonly pollMsFirst?: number
}

/** The JSON of `publish --pin`. */
export interface PinnedRoot {
  readonly service: string
  readonly cid: string
  readonly requestid: string
  readonly status: 'pinned'
}

/** @throws PIN_REFUSED, PIN_FAILED, PIN_UNREACHABLE, PIN_TIMEOUT; the signal's reason */
export async function pinRoots (service: PinningService, options: PinOptions): Promise<PinnedRoot[]> {
  const { roots, report } = options
  const deadline = systemClock.monotonicMs() + options.deadlineMs
  const known = await service.list({ cids: roots.map(({ cid }) => cid.toString()), statuses: PIN_STATUSES })
  const pins: RemotePin[] = []
  for (const { cid, name } of roots) {
    const wanted = { cid: cid.toString(), name, origins: options.peers?.origins ?? [] }
    pins.push(await requested(service, wanted, known.filter((pin) => isCid(pin.cid, cid)), report))
  }
  const delegates = new Set(pins.filter(({ status }) => status !== 'pinned').flatMap((pin) => pin.delegates))
  await options.peers?.connect([...delegates], report, options.signal)
  // One after the other: the first root of an image holds nearly all of it.
  return await Promise.all(pins.map(async (pin) => await settled(service, pin, deadline, options)))
}

async function requested (service: PinningService, wanted: NewPin, known: readonly RemotePin[], report: PinOptions['report']): Promise<RemotePin> {
  for (const status of ['pinned', 'pinning', 'queued'] as const) {
    const found = known.find((pin) => pin.status === status)
    if (found === undefined) continue
    report({ event: 'note', text: `${service.name}: ${wanted.cid} was ${status} there before` })
    return found
  }
  const [failed] = known
  const pin = failed === undefined ? await service.add(wanted) : await service.replace(failed.requestId, wanted)
  if (!isCid(pin.cid, CID.parse(wanted.cid))) {
    throw new SnapshotterError('PIN_FAILED', `pinning service ${service.name} was asked to pin ${wanted.cid} and answers for ${quoted(pin.cid)}`)
  }
  report({ event: 'note', text: `${service.name}: ${wanted.cid} ${pin.status}` })
  return pin
}

async function settled (service: PinningService, first: RemotePin, deadline: number, options: PinOptions): Promise<PinnedRoot> {
  const { cid, requestId: requestid } = first
  const what = `pinning service ${service.name}: ${cid}`
  let pin = first
  let trouble = ''
  for (let pauseMs = options.pollMsFirst ?? PIN_POLL_MS_FIRST; ; pauseMs = Math.min(2 * pauseMs, PIN_POLL_MS_MAX)) {
    if (pin.status === 'pinned') return { service: service.name, cid, requestid, status: 'pinned' }
    if (pin.status === 'failed') {
      throw new SnapshotterError('PIN_FAILED', `${what} failed${pin.details === '' ? '' : ` (${quoted(pin.details)})`}; the same command asks again`)
    }
    const leftMs = deadline - systemClock.monotonicMs()
    if (leftMs <= 0) {
      throw new SnapshotterError('PIN_TIMEOUT', `${what} is still ${pin.status} after ${options.deadlineMs} ms${trouble}; ` +
        'the service goes on: see pin status, or give the same command again')
    }
    await sleep(Math.min(pauseMs, leftMs), options.signal)
    try {
      const next = await service.get(requestid)
      if (next.status !== pin.status) options.report({ event: 'note', text: `${service.name}: ${cid} ${next.status}` })
      trouble = ''
      pin = next
    } catch (error) {
      if (!hasCode(error, 'PIN_UNREACHABLE')) throw error
      trouble = `, last: ${messageOf(error)}` // it may come back before the deadline
    }
  }
}
