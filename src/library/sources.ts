// Where an image is read from: the sources in the caller's order, with the gateway that the reference itself names before the
// other gateways. They are open while one image is worked on, and leave no connection behind.
import { SnapshotterError } from '../base/errors.ts'
import { GATEWAY_TIMEOUT_MS } from '../base/limits.ts'
import { type Log, silentLog } from '../base/log.ts'
import type { BlockService } from '../ipfs/blocks.ts'
import { createBlockService } from '../ipfs/block-service.ts'

/** One `[[source]]` of the config file. Nobody in the list is trusted: every byte is checked. */
export type SourceSettings =
  | {
    readonly type: 'gateway'
    /** `https://gateway.example`: a trustless IPFS gateway. */
    readonly url: string
    /** Of each silence: before an answer's headers, and between its bytes. Default 10 s. */
    readonly timeoutMs?: number | undefined
    /** Sent as `Authorization: Bearer` to this origin only. */
    readonly token?: string | undefined
    /** Certificates to trust for this origin instead of the system's. */
    readonly caPem?: string | undefined
  }
  | { readonly type: 'car', /** Of a CAR file. */ readonly path: string }

export interface SourceChoice {
  readonly sources: readonly SourceSettings[]
  /** Origin that the reference names, or null. */
  readonly named: string | null
  readonly timeoutMs?: number | undefined
  readonly log?: Log | undefined
}

/** @throws CONFIG_INVALID, and what `work` throws. */
export async function withSources<Result> (choice: SourceChoice, work: (blocks: BlockService) => Promise<Result>): Promise<Result> {
  const { sources, named, timeoutMs = GATEWAY_TIMEOUT_MS, log = silentLog } = choice
  const blocks = createBlockService({ sources: withNamedGateway(sources, named, timeoutMs), log })
  try {
    return await work(blocks)
  } finally {
    await blocks.close()
  }
}

/** A source of the same origin keeps its token, CA and timeout, and moves to the front; CAR files cost nothing and stay there. */
export function withNamedGateway (sources: readonly SourceSettings[], gateway: string | null, timeoutMs = GATEWAY_TIMEOUT_MS): readonly SourceSettings[] {
  if (gateway === null) {
    if (sources.length > 0) return sources
    throw new SnapshotterError('CONFIG_INVALID',
      'there is no source to fetch from; add --gateway URL, --car FILE or a [[source]] to the config file (in JavaScript: sources)')
  }
  const cars = sources.filter(({ type }) => type === 'car')
  const others = sources.filter(({ type }) => type !== 'car')
  const isNamed = (source: SourceSettings): boolean => source.type === 'gateway' && URL.parse(source.url)?.origin === gateway
  const named = others.find(isNamed) ?? { type: 'gateway' as const, url: gateway, timeoutMs }
  return [...cars, named, ...others.filter((source) => source !== named)]
}
