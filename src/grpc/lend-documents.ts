// Puts a resolved image's documents into containerd before a client of its own pulls them, for a while: clients that find
// children by the `urls` of their descriptors alone (nerdctl ipfs://) do not ask for what containerd already has.
import type { Log } from '../base/log.ts'
import type { ImagePlan } from '../image/plan.ts'
import { ContainerdClient } from './containerd-client.ts'
import { writeBlob } from './content-writer.ts'
import { documentsOf } from './pull-blobs.ts'
import { withLease } from './pull-lease.ts'
import type { Descriptor } from './wire.ts'

/** Holds the documents and nothing that they come to refer to: snapshots of a removed image go at once (core/metadata/gc.go). */
const FLAT = { 'containerd.io/gc.flat': 'true' }

export interface LendInit {
  readonly plan: ImagePlan
  /** containerd's socket. */
  readonly address: string
  readonly namespace: string
  /** Ends the loan; whoever leased the documents meanwhile keeps them. */
  readonly over: Promise<unknown>
  /** Ends calls that wait for containerd. */
  readonly signal: AbortSignal
  readonly log: Log
}

/** What an image record of this image points to. */
export function targetOf (plan: ImagePlan): Descriptor {
  return documentsOf(plan, '').target
}

/** Ends when the documents are there. @throws CONTAINERD, UNAVAILABLE, CANCELLED */
export async function lendDocuments ({ plan, address, namespace, over, signal, log }: LendInit): Promise<void> {
  const client = new ContainerdClient({ address, namespace, signal })
  const { promise: lent, resolve, reject } = Promise.withResolvers<undefined>()
  withLease(client, plan.canonical, log, async (lease) => {
    // Whoever pulls sets the labels that its image needs: without an image nothing may hold these.
    for (const blob of documentsOf(plan, '').blobs) await writeBlob(client, { ...blob, labels: {} }, lease, signal)
    resolve(undefined)
    await over
  }, FLAT).catch(reject).finally(() => { client.close() })
  await lent
}
