// Hands out the members that a verified stream brings: those that somebody waits for as soon as they are complete, the others
// a few at a time, so that a leaf of hundreds of small files does not stand between a reader and his next read.
import { SUPPLY_LATER_AT_ONCE, SUPPLY_LATER_BYTES } from '../base/limits.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import { BlobWindow } from './blob-window.ts'
import type { Member } from './layer-table.ts'

interface Handing {
  /** Starts at `from` of the blob. */
  readonly stream: AsyncIterable<VerifiedBytes>
  readonly from: number
  /** Within the stream, by offset. */
  readonly members: readonly Member[]
  /** Asked again and again: a read may come while the stream runs. */
  readonly isAwaited: (member: Member) => boolean
  readonly supply: (member: Member, bytes: Uint8Array) => Promise<void>
  readonly signal: AbortSignal
}

/** @throws what the stream and `supply` throw; the signal's reason */
export async function handOut ({ stream, from, members, isAwaited, supply, signal }: Handing): Promise<void> {
  const window = new BlobWindow(from)
  let later: Member[] = []
  const give = async (member: Member): Promise<void> => { await supply(member, window.slice(member.offset, member.length)) }
  /** Gives a few of those that wait, awaited ones before the others, and lets other work have its turn. */
  const giveSome = async (): Promise<void> => {
    const awaited = later.filter(isAwaited)
    const chosen = new Set(awaited.length > 0 ? awaited : later.slice(0, SUPPLY_LATER_AT_ONCE))
    later = later.filter((member) => !chosen.has(member))
    for (const member of chosen) await give(member)
    await new Promise((resolve) => { setImmediate(resolve) })
    signal.throwIfAborted()
  }
  let next = 0
  for await (const bytes of stream) {
    window.push(bytes)
    for (let member = members[next]; member !== undefined && member.offset + member.length <= window.end; member = members[++next]) {
      if (isAwaited(member)) await give(member)
      else later.push(member)
    }
    while (window.end - (later[0]?.offset ?? window.end) > SUPPLY_LATER_BYTES) await giveSome()
    window.dropBefore(later[0]?.offset ?? members[next]?.offset ?? window.end)
  }
  while (later.length > 0) await giveSome()
}
