// The fake gateway with a gate in front: while it is held, requests wait unanswered; and a count of what was delivered,
// leaf by leaf, so that a test can say "nothing was fetched twice".
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { CID } from 'multiformats/cid'
import { CarBlocks, type FakeGateway, type Knobs, startFakeGateway } from '../fakes/gateway.ts'
import { dagBlocks, type FakeBlocks } from '../fakes/gateway-dag.ts'

const IDENTITY = 0

export class GatedGateway {
  readonly #blocks: FakeBlocks
  readonly #waiting: Array<{ readonly response: ServerResponse, readonly go: () => void }> = []
  /** CID → how many answers it was put into. */
  readonly #delivered = new Map<string, number>()
  #held: (path: string) => boolean = () => false
  #gateway: FakeGateway | null = null

  static async over (...cars: readonly string[]): Promise<GatedGateway> {
    return await GatedGateway.start(await CarBlocks.load(...cars))
  }

  static async start (blocks: FakeBlocks, knobs: Partial<Knobs> = {}): Promise<GatedGateway> {
    const gated = new GatedGateway(blocks)
    const counting: FakeBlocks = { get: (cid) => gated.#count(cid) }
    gated.#gateway = await startFakeGateway(counting, knobs, (listener) => gated.#listen(listener))
    return gated
  }

  private constructor (blocks: FakeBlocks) {
    this.#blocks = blocks
  }

  get gateway (): FakeGateway {
    if (this.#gateway === null) throw new Error('not started')
    return this.#gateway
  }

  get url (): string {
    return this.gateway.url
  }

  /** From now on requests wait, all or those whose path matches. */
  hold (matches: (path: string) => boolean = () => true): void {
    this.#held = matches
  }

  /** Requests that wait and whose client is still there. */
  get waiting (): number {
    return this.#waiting.filter(({ response }) => !response.destroyed).length
  }

  /** Answers those whose client is still there; later ones are answered at once. */
  release (): void {
    this.#held = () => false
    for (const { response, go } of this.#waiting.splice(0)) if (!response.destroyed) go()
  }

  /** CIDs of all leaves of a file: blocks that hold its bytes. */
  leavesOf (file: string): string[] {
    const all = dagBlocks(this.#blocks, { root: CID.parse(file), names: [], scope: 'all', range: null }) ?? []
    return all.map(({ cid }) => cid).filter(({ code }) => code === 0x55).map(String)
  }

  /** How many of these blocks were delivered, repeats included. */
  deliveries (cids: readonly string[]): number {
    return cids.reduce((sum, cid) => sum + (this.#delivered.get(cid) ?? 0), 0)
  }

  /** Those that were delivered more than once. */
  repeated (cids: readonly string[]): string[] {
    return cids.filter((cid) => (this.#delivered.get(cid) ?? 0) > 1)
  }

  /** Bytes of these blocks that were delivered beyond once. */
  repeatedBytes (cids: readonly string[]): number {
    return [...new Set(cids)].reduce((sum, cid) => {
      const times = this.#delivered.get(cid) ?? 0
      return times > 1 ? sum + (times - 1) * (this.#blocks.get(CID.parse(cid))?.byteLength ?? 0) : sum
    }, 0)
  }

  async close (): Promise<void> {
    this.release()
    await this.gateway.close()
  }

  #listen (listener: RequestListener): Server {
    return createServer((request: IncomingMessage, response: ServerResponse) => {
      const go = (): void => { listener(request, response) }
      if (this.#held(request.url ?? '')) this.#waiting.push({ response, go })
      else go()
    })
  }

  #count (cid: CID): Uint8Array | undefined {
    this.#delivered.set(cid.toString(), (this.#delivered.get(cid.toString()) ?? 0) + 1)
    return cid.multihash.code === IDENTITY ? cid.multihash.digest : this.#blocks.get(cid)
  }
}
