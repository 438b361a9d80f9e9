// How a pinning service and the Kubo that has the blocks find each other without waiting for the DHT: the service is told that Kubo's
// addresses, that Kubo is told to dial the peers that the service names. Both are hints: what fails is told, and nothing fails with it.
import { asSnapshotterError } from '../base/errors.ts'
import { PIN_ADDRESSES_MAX } from '../base/limits.ts'
import type { Report } from '../base/report.ts'
import type { KuboClient } from './kubo-client.ts'

export interface Peers {
  /** Multiaddrs, each with the id of the peer. */
  readonly origins: readonly string[]
  readonly connect: (delegates: readonly string[], report: Report, signal?: AbortSignal) => Promise<void>
}

/** As the specification has it: the address of a peer, not of a machine. */
const PEER_ADDRESS = /^\/[\x21-\x7e]+\/p2p\/[A-Za-z0-9]+$/

/** @throws the signal's reason, nothing else */
export async function peersBy (kubo: KuboClient, report: Report, signal?: AbortSignal): Promise<Peers> {
  const addresses = await kubo.call('id', [], signal).then(([answer]) => answer?.['Addresses'], (error: unknown) => {
    signal?.throwIfAborted()
    report({ event: 'note', text: `no origins for pinning services: ${asSnapshotterError(error).message}` })
  })
  const origins = (Array.isArray(addresses) ? addresses : []).filter((one): one is string => typeof one === 'string' && PEER_ADDRESS.test(one))
  return {
    origins: origins.slice(0, PIN_ADDRESSES_MAX),
    connect: async (delegates, report, signal) => {
      const dialled = delegates.filter((one) => PEER_ADDRESS.test(one)).slice(0, PIN_ADDRESSES_MAX)
      await Promise.all(dialled.map(async (delegate) => {
        try {
          await kubo.call('swarm/connect', [['arg', delegate]], signal)
          report({ event: 'note', text: `${kubo.name} is connected to ${delegate}` })
        } catch (error) {
          signal?.throwIfAborted()
          report({ event: 'note', text: `${delegate} is not reached: ${asSnapshotterError(error).message}` })
        }
      }))
    }
  }
}
