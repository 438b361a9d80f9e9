// The block services of this daemon: one over the configured sources, and one for each other list of sources that a
// pull or a reference names, so that budgets and connections are shared.
import type { Log } from '../base/log.ts'
import { GATEWAY_TIMEOUT_MS } from '../base/limits.ts'
import type { SourceSettings } from '../config/load.ts'
import { createBlockService, OWN_STORE } from '../ipfs/block-service.ts'
import type { BlockStoreReadonly } from '../ipfs/block-store.ts'
import type { BlockService, ServiceActivity } from '../ipfs/blocks.ts'
import { addActivity, emptyActivity, type SourceActivity } from '../ipfs/source-traffic.ts'

export class Sources {
  readonly #settings: readonly SourceSettings[]
  readonly #log: Log
  readonly #own: BlockStoreReadonly | undefined
  readonly #services = new Map<string, BlockService>()
  readonly #named = new Map<BlockService, readonly string[]>()

  /** `own`: blocks on this node, which come before all sources. */
  constructor (settings: readonly SourceSettings[], log: Log, own?: BlockStoreReadonly) {
    this.#settings = settings
    this.#log = log
    this.#own = own
  }

  get configured (): BlockService {
    return this.#service(this.#settings)
  }

  /** `gateways` take the place of the configured sources; the gateway that a reference names goes first. */
  for (gateways: readonly string[], preferred: string | null): BlockService {
    const asked = gateways.map(gatewayAt)
    const base = asked.length > 0 ? asked : this.#settings
    const named = preferred === null || base.some((source) => source.type === 'gateway' && new URL(source.url).origin === preferred)
      ? []
      : [gatewayAt(preferred)]
    const service = this.#service([...named, ...base])
    this.#named.set(service, [...named, ...asked].map(({ url }) => url))
    return service
  }

  /** The gateways of a service that a pull named, not the configuration. */
  namedIn (service: BlockService): readonly string[] {
    return this.#named.get(service) ?? []
  }

  /** For layers of an earlier run: the gateways that their pull named, then the configured sources. */
  again (named: readonly string[]): BlockService {
    return this.#service([...named.map(gatewayAt), ...this.#settings])
  }

  all (): BlockService[] {
    return [...this.#services.values()]
  }

  /** Figures by name; sources that only references and pulls named are one, so that nobody can make many of them. */
  activity (): { readonly sources: ReadonlyArray<{ readonly name: string } & SourceActivity>, readonly gate: ServiceActivity['gate'] } {
    const names = this.#settings.map((source) => source.type === 'car' ? source.path : new URL(source.url).host)
    const named = new Map([...this.#own === undefined ? [] : [OWN_STORE], ...names].map((name) => [name, emptyActivity()]))
    const all = this.all().map((service) => service.activity())
    for (const { name, ...activity } of all.flatMap(({ sources }) => sources)) {
      const label = named.has(name) ? name : 'reference'
      named.set(label, addActivity(named.get(label) ?? emptyActivity(), activity))
    }
    const gate = { foreground: 0, held: 0 }
    for (const { gate: { foreground, held } } of all) {
      gate.foreground += foreground
      gate.held += held
    }
    return { sources: [...named].map(([name, activity]) => ({ name, ...activity })), gate }
  }

  async close (): Promise<void> {
    await Promise.all(this.all().map(async (service) => { await service.close() }))
  }

  #service (settings: readonly SourceSettings[]): BlockService {
    const key = JSON.stringify(settings)
    const known = this.#services.get(key)
    if (known !== undefined) return known
    const service = createBlockService({ sources: settings, own: this.#own, log: this.#log })
    this.#services.set(key, service)
    return service
  }
}

function gatewayAt (url: string) {
  return { type: 'gateway' as const, url, timeoutMs: GATEWAY_TIMEOUT_MS }
}
