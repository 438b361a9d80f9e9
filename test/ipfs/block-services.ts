// Block services over fake gateways, closed after each test; and the error that a call ends with.
import { afterEach } from '@jest/globals'
import { isSnapshotterError, type SnapshotterError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { type BlockServiceOptions, createBlockService } from '../../src/ipfs/block-service.ts'
import type { BlockService, SourceConfig } from '../../src/ipfs/blocks.ts'
import { type FakeGateway, type Knobs, startFakeGateway } from '../fakes/gateway.ts'
import type { FakeBlocks } from '../fakes/gateway-dag.ts'

const closers: Array<() => Promise<void>> = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

export async function gatewayOf (blocks: FakeBlocks, knobs: Partial<Knobs> = {}): Promise<FakeGateway> {
  const gateway = await startFakeGateway(blocks, knobs)
  closers.push(gateway.close)
  return gateway
}

export function serviceOver (gateways: readonly FakeGateway[], options: Partial<BlockServiceOptions> & { timeoutMs?: number } = {}): BlockService {
  const sources: SourceConfig[] = gateways.map(({ url }) => ({ type: 'gateway', url, timeoutMs: options.timeoutMs ?? 5_000 }))
  return service({ sources, log: silentLog, ...options })
}

export function service (options: BlockServiceOptions): BlockService {
  const created = createBlockService(options)
  closers.push(async () => { await created.close() })
  return created
}

/** The error of work that must fail. */
export async function failureOf (work: Promise<unknown>): Promise<SnapshotterError> {
  try {
    await work
  } catch (error) {
    if (isSnapshotterError(error)) return error
    throw error
  }
  throw new Error('it did not fail')
}

export function onClose (close: () => Promise<void>): void {
  closers.push(close)
}
