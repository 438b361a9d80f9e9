// One byte range of a file: walks the tree from its verified root, asks for what is missing (one CAR a run of missing
// bytes, a single block alone), and hands out the range's pieces in order. Sizes are checked wherever a child arrives.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { DAG_DEPTH_MAX, RANGE_BLOCKS_MAX, RANGE_GAP_BYTES } from '../base/limits.ts'
import { CODE_DAG_PB } from '../verify/cid.ts'
import { type VerifiedBytes, verifiedPart } from '../verify/verified-bytes.ts'
import type { Need } from './block-source.ts'
import { keyOf } from './block-key.ts'
import type { ByteRange, Waits } from './blocks.ts'
import { needsBelow, rangePlan } from './file-needs.ts'
import type { Exchange, JobPlan } from './exchange.ts'
import { Session } from './session.ts'
import { decodeFileNode, type FileNode } from './unixfs-node.ts'

export interface FileRoot {
  readonly cid: CID
  readonly node: FileNode
}

/** Bytes that are here, or the leaf that brings them. */
type Piece = VerifiedBytes | Need

interface Walk {
  readonly pieces: Piece[]
  readonly missing: Need[]
  blocks: number
}

export class FileRange {
  readonly #root: FileRoot
  readonly #range: ByteRange
  readonly #session: Session
  readonly #exchange: Exchange
  readonly #plan: JobPlan
  readonly #ready: Promise<Piece[]>

  /** `keep`: whether whole leaves stay in memory for later reads; those that stick out of the range always do. */
  constructor (exchange: Exchange, root: FileRoot, range: ByteRange, waits: Waits, keep: boolean) {
    this.#root = root
    this.#range = range
    this.#exchange = exchange
    this.#session = new Session(exchange, waits)
    this.#plan = {
      ...rangePlan(root.cid, this.#range),
      keep: (need) => keep || need.base < range.from || need.base + need.size > range.to
    }
    this.#ready = this.#resolve()
    this.#ready.catch(() => {}) // told to whoever reads
  }

  async * pieces (): AsyncGenerator<VerifiedBytes> {
    for (const piece of await this.#ready) yield 'cid' in piece ? await this.#leaf(piece) : piece
  }

  close (): void {
    this.#session.close()
  }

  /** Until every node above the range's leaves is known; the leaves are on their way then. */
  async #resolve (): Promise<Piece[]> {
    for (;;) {
      const walk: Walk = { pieces: [], missing: [], blocks: 0 }
      this.#visit(walk, this.#root.node, 0, 0)
      this.#request(walk.missing)
      const nodes = walk.missing.filter(({ cid }) => cid.code === CODE_DAG_PB)
      if (nodes.length === 0) return walk.pieces
      for (const { cid } of nodes) await this.#session.wait(cid)
    }
  }

  #visit (walk: Walk, node: FileNode, base: number, depth: number): void {
    if (depth > DAG_DEPTH_MAX) throw new SnapshotterError('LIMIT_EXCEEDED', `file ${this.#root.cid.toString()} is deeper than ${DAG_DEPTH_MAX} nodes`)
    const inlineEnd = base + node.inline.byteLength
    const { from, to } = this.#range
    if (from < inlineEnd && to > base && inlineEnd > base) {
      walk.pieces.push(verifiedPart(node.inline, Math.max(from - base, 0), Math.min(to, inlineEnd) - base))
    }
    for (const need of needsBelow(node, base, this.#range)) {
      if (++walk.blocks > RANGE_BLOCKS_MAX) {
        throw new SnapshotterError('LIMIT_EXCEEDED', `file ${this.#root.cid.toString()} has over ${RANGE_BLOCKS_MAX} blocks in one range`)
      }
      const bytes = this.#session.peek(need.cid)
      if (bytes === undefined) {
        walk.missing.push(need)
        walk.pieces.push(need)
      } else {
        this.#visit(walk, this.#decode(need, bytes), need.base, depth + 1)
      }
    }
  }

  #decode (need: Need, bytes: VerifiedBytes): FileNode {
    const node = decodeFileNode(need.cid, bytes)
    if (node.size !== need.size) {
      throw new SnapshotterError('BLOCK_INVALID',
        `file ${this.#root.cid.toString()}: block ${need.cid.toString()} has ${node.size} bytes, its parent says ${need.size}`)
    }
    return node
  }

  async #leaf (need: Need): Promise<VerifiedBytes> {
    const { inline } = this.#decode(need, await this.#session.wait(need.cid))
    return verifiedPart(inline, need.from - need.base, need.to - need.base)
  }

  /** What others fetch already is joined; the rest is asked for in runs, without the gaps between them. */
  #request (missing: readonly Need[]): void {
    const joined: Need[] = []
    const runs: Need[][] = []
    let end = -Infinity
    for (const need of missing) {
      if (this.#exchange.inFlight(keyOf(need.cid)) !== undefined) {
        joined.push(need)
        continue
      }
      if (need.from - end > RANGE_GAP_BYTES) runs.push([])
      runs.at(-1)?.push(need)
      end = need.to
    }
    this.#session.request(joined, this.#plan)
    for (const run of runs) this.#session.request(run, this.#plan)
  }
}
