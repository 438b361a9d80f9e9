// What a network does to a node: each fault comes before a container reads files that nobody has read, lasts a while and ends. What
// the reads of a try must do: wait and be right, or, where the fault outlasts their deadline, fail with EIO and be right afterwards.
import type { Knobs } from '../fakes/gateway.ts'
import { Relay } from '../fakes/relay.ts'
import type { GatedGateway } from '../e2e/gated-gateway.ts'
import { NAME, UnreliableHost } from './unreliable-host.ts'

export interface NetworkFault {
  readonly name: string
  readonly lastsMs: number
  /** Of a read; default 30 s. */
  readonly deadlineMs?: number
  /** The reads must fail: their deadline ends before the fault does. */
  readonly outlasts?: true
  /** `turn` counts tries, for faults that come in several kinds. */
  readonly strike: (network: Network, turn: number) => void | Promise<void>
  readonly mend: (network: Network) => void | Promise<void>
}

/** Between a node and its only gateway; a host of its own, too. */
export class Network {
  readonly host = new UnreliableHost()
  #relay: Relay | null = null
  #gateway: GatedGateway | null = null

  /** What the node calls the gateway. */
  async before (gateway: GatedGateway): Promise<string> {
    this.#gateway = gateway
    this.#relay = await Relay.over(gateway.gateway.host)
    return `http://${NAME}:${this.#relay.port}`
  }

  get relay (): Relay {
    if (this.#relay === null) throw new Error('no relay')
    return this.#relay
  }

  get gateway (): GatedGateway {
    if (this.#gateway === null) throw new Error('no gateway')
    return this.#gateway
  }

  /** Of the gateway's behaviour. */
  turn (knobs: Partial<Knobs>): void {
    Object.assign(this.gateway.gateway.knobs, knobs)
  }

  async close (): Promise<void> {
    await this.#relay?.close()
    this.host.close()
  }
}

async function die (network: Network, turn: number): Promise<void> {
  if (turn % 2 === 0) await network.relay.refuse()
  else network.relay.silence()
}

const returns = async ({ relay }: Network): Promise<void> => { await relay.resume() }

function dead (name: string, seconds: number, more: Partial<NetworkFault> = {}): NetworkFault {
  return { name, lastsMs: seconds * 1000, strike: die, mend: returns, ...more }
}

/** While the gateway behaves like one of these; takes turns. */
function misbehaving (name: string, lastsMs: number, bad: ReadonlyArray<Partial<Knobs>>, good: Partial<Knobs>): NetworkFault {
  return {
    name,
    lastsMs,
    strike: (network, turn) => { network.turn(bad[turn % bad.length] ?? {}) },
    mend: (network) => { network.turn(good) }
  }
}

const BRIEF_MS = 1_500
const DAY_SECONDS = 86_400

export const NETWORK_FAULTS: readonly NetworkFault[] = [
  dead('dead for 12 s', 12),
  dead('dead for 6 s', 6),
  dead('dead for 2 s', 2),
  dead('dead beyond the deadline', 6, { deadlineMs: 2_000, outlasts: true }),
  misbehaving('slow loris', BRIEF_MS, [{ dripMs: 50 }], { dripMs: null }),
  misbehaving('silent in the body', BRIEF_MS, [{ stallAt: 1000 }], { stallAt: null }),
  { name: 'resets', lastsMs: BRIEF_MS, strike: ({ relay }) => { relay.reset() }, mend: returns },
  misbehaving('wrong bytes', BRIEF_MS, [{ lie: true }, { corruptAt: 2000 }], { lie: false, corruptAt: null }),
  misbehaving('endless bodies', BRIEF_MS, [{ endless: true }], { endless: false }),
  misbehaving('wrong lengths', BRIEF_MS, [{ huge: 2 ** 31 }, { cutAt: { bytes: 5000, clean: true } }, { headers: { 'content-length': '5000' } }],
    { huge: null, cutAt: null, headers: {} }),
  misbehaving('429, Retry-After: 1', BRIEF_MS, [{ status: () => ({ status: 429, headers: { 'retry-after': '1' } }) }], { status: null }),
  { name: 'no name resolved', lastsMs: BRIEF_MS,
    strike: async ({ host, relay }) => {
      host.setNames(false)
      relay.cut() // a connection that lives needs no name
    },
    mend: ({ host }) => { host.setNames(true) } },
  { name: 'clock a day off, and back', lastsMs: BRIEF_MS,
    strike: async ({ host, gateway }, turn) => {
      gateway.hold()
      host.setClock(turn % 2 === 0 ? DAY_SECONDS : -DAY_SECONDS)
    },
    mend: ({ host, gateway }) => {
      host.setClock(0)
      gateway.release()
    } }
]
