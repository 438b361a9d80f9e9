// The room's front door: sources from the configuration, one exchange over them, files and directories on top.
import type { CID } from 'multiformats/cid'
import { type Clock, sleep as realSleep, systemClock } from '../base/clock.ts'
import { SnapshotterError } from '../base/errors.ts'
import { GATEWAY_TIMEOUT_MS, RANGE_BYTES_MAX } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import { CODE_DAG_PB } from '../verify/cid.ts'
import { type VerifiedBytes, verifiedConcat } from '../verify/verified-bytes.ts'
import type { BlockSource, Need } from './block-source.ts'
import type { BlockService, ByteRange, DirectoryEntry, ServiceActivity, SourceConfig, SourceStatus, UnixfsFile, Waits } from './blocks.ts'
import type { BlockStoreReadonly } from './block-store.ts'
import { openCarStore } from './car-store.ts'
import { listDirectory, resolvePath } from './directory.ts'
import { Exchange, singleNeed } from './exchange.ts'
import type { Sleep } from './failover.ts'
import { ForegroundGate } from './foreground-gate.ts'
import { rangePlan } from './file-needs.ts'
import { GatewayHttp } from './gateway-http.ts'
import { GatewaySource } from './gateway-source.ts'
import { loggedTransport } from './logged-transport.ts'
import { Session } from './session.ts'
import { StoreSource } from './store-source.ts'
import { OpenFile } from './unixfs-file.ts'
import { decodeFileNode } from './unixfs-node.ts'

export interface BlockServiceOptions {
  /** In the order in which they are asked. */
  readonly sources: readonly SourceConfig[]
  /** Blocks on this machine that come before all of them. */
  readonly own?: BlockStoreReadonly | undefined
  readonly log: Log
  /** Default: the system's. */
  readonly clock?: Clock
  /** How waits between rounds pass; tests own it. */
  readonly sleep?: Sleep
}

/** What the blocks that were given to this node are called among the sources. */
export const OWN_STORE = 'this node'

/** @throws CONFIG_INVALID for a bad URL or a token in the clear, UNSUPPORTED for source types that are not built. */
export function createBlockService ({ sources, own, log, clock = systemClock, sleep = realSleep }: BlockServiceOptions): BlockService {
  const gate = new ForegroundGate()
  const given = own === undefined
    ? []
    : [new StoreSource({ name: OWN_STORE, type: 'store', open: async () => own, tellsMissing: sources.length === 0, clock })]
  const built = [...given, ...sources.map((config) => sourceOf(config, { clock, log, gate }))]
  return new Service(built, new Exchange(built, { clock, sleep }, gate), gate)
}

function sourceOf (config: SourceConfig, parts: { readonly clock: Clock, readonly log: Log, readonly gate: ForegroundGate }): BlockSource {
  if (config.type === 'gateway') {
    const { url, timeoutMs = GATEWAY_TIMEOUT_MS, token, caPem } = config
    return new GatewaySource(loggedTransport(new GatewayHttp({ url, timeoutMs, token, caPem, clock: parts.clock }), parts), parts)
  }
  if (config.type === 'car') {
    const { path } = config
    return new StoreSource({ name: path, type: 'car', open: async () => await openCarStore([path]), tellsMissing: true, clock: parts.clock })
  }
  throw new SnapshotterError('UNSUPPORTED', `sources of type ${config.type} are not supported: use a gateway or a CAR file`)
}

class Service implements BlockService {
  readonly #sources: readonly BlockSource[]
  readonly #exchange: Exchange
  readonly #gate: ForegroundGate

  constructor (sources: readonly BlockSource[], exchange: Exchange, gate: ForegroundGate) {
    this.#sources = sources
    this.#exchange = exchange
    this.#gate = gate
  }

  async get (cid: CID, waits: Waits = {}): Promise<VerifiedBytes> {
    const session = new Session(this.#exchange, waits)
    try {
      session.request([singleNeed(cid)])
      return await session.wait(cid)
    } finally {
      session.close()
    }
  }

  async openFile (cid: CID, waits: Waits = {}, ahead: readonly ByteRange[] = []): Promise<UnixfsFile> {
    const session = new Session(this.#exchange, waits)
    try {
      for (const range of cid.code === CODE_DAG_PB ? ahead : []) {
        const whole: Need = { cid, base: 0, size: range.to, ...range, deep: true }
        session.request([whole], { ...rangePlan(cid, range), keep: () => true, share: true })
      }
      session.request([singleNeed(cid)])
      return new OpenFile(this.#exchange, { cid, node: decodeFileNode(cid, await session.wait(cid)) })
    } finally {
      session.leave()
    }
  }

  async readAll (cid: CID, maxBytes: number, waits: Waits = {}): Promise<VerifiedBytes> {
    const session = new Session(this.#exchange, waits)
    try {
      // Root and leaves in one CAR: a small file should cost one request, whatever its DAG looks like.
      const to = Math.min(maxBytes, RANGE_BYTES_MAX)
      const whole = { ...singleNeed(cid), size: to, to, deep: cid.code === CODE_DAG_PB }
      session.request([whole], { ...rangePlan(cid, { from: 0, to }), keep: () => true })
      const node = decodeFileNode(cid, await session.wait(cid))
      if (node.size > maxBytes) {
        throw new SnapshotterError('LIMIT_EXCEEDED', `${cid.toString()} has ${node.size} bytes, limit ${maxBytes}`, { size: node.size, limit: maxBytes })
      }
      const pieces: VerifiedBytes[] = []
      for await (const piece of new OpenFile(this.#exchange, { cid, node }).stream(0, node.size, waits)) pieces.push(piece)
      return verifiedConcat(pieces)
    } finally {
      session.close()
    }
  }

  async listDirectory (cid: CID, waits: Waits = {}): Promise<DirectoryEntry[] | null> {
    return await listDirectory(this.#exchange, cid, waits)
  }

  async resolvePath (root: CID, names: readonly string[], waits: Waits = {}): Promise<CID | null> {
    return await resolvePath(this.#exchange, root, names, waits)
  }

  sources (): SourceStatus[] {
    return this.#sources.map((source) => source.status())
  }

  activity (): ServiceActivity {
    return {
      sources: this.#sources.map((source) => {
        const { name, type } = source.status()
        return { name, type, ...source.activity() }
      }),
      gate: this.#gate.state
    }
  }

  async close (): Promise<void> {
    await this.#exchange.close()
    await Promise.all(this.#sources.map(async (source) => { await source.close() }))
  }
}
