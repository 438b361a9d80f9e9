// The blocks of a CAR answer, depth first, each verified as it is read and one held at a time: the way to the terminal
// block, then as much below it as the scope asks for. A missing or bad block ends the walk with an error, never a gap.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { GATEWAY_DEPTH_MAX } from '../base/limits.ts'
import type { BlockStoreReadonly } from '../ipfs/block-store.ts'
import type { FileNode } from '../ipfs/unixfs-node.ts'
import { CODE_IDENTITY, CODE_RAW } from '../verify/cid.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import { childrenOf, type GatewayNode, readNode } from './gateway-node.ts'
import type { ResolvedPath } from './gateway-path.ts'
import { problem } from './gateway-problem.ts'
import { type ByteSpan, resolveSpan } from './gateway-range.ts'
import type { CarQuery, DagScope } from './gateway-request.ts'
import { isSubShard } from './gateway-shard.ts'

export interface CarBlock {
  readonly cid: CID
  readonly bytes: VerifiedBytes
}

interface Step {
  readonly cid: CID
  /** Bytes of this node that are wanted; null for all of it. */
  readonly span: ByteSpan | null
}

/** What a request will send; made before the status line, so that what can be refused is. */
export interface CarPlan {
  readonly path: ResolvedPath
  readonly dups: boolean
  readonly scope: DagScope
  readonly span: ByteSpan | null
}

/** @throws 400 for a range outside the entity or a codec that cannot be walked; 404 when the terminal block is missing or unreadable. */
export async function planCar (store: BlockStoreReadonly, path: ResolvedPath, query: CarQuery, signal: AbortSignal): Promise<CarPlan> {
  const bytes = await store.get(path.terminal, { signal })
  if (bytes === null) throw problem(404, `block ${path.terminal.toString()} is not here`)
  const plan: CarPlan = { path, dups: query.dups, scope: query.scope, span: null }
  if (query.scope === 'block') return plan

  const node = readTerminal(path.terminal, bytes)
  if (node.kind === 'opaque' && query.scope === 'all') {
    throw problem(400, `links of codec 0x${path.terminal.code.toString(16)} cannot be followed: ask for dag-scope=block or format=raw`)
  }
  if (query.bytes === null || node.kind !== 'file') return plan
  const span = resolveSpan(query.bytes, node.file.size)
  if (span === null) return { ...plan, scope: 'block' }
  return span.from === 0 && span.to === node.file.size ? plan : { ...plan, span }
}

function readTerminal (cid: CID, bytes: VerifiedBytes): GatewayNode {
  try {
    return readNode(cid, bytes)
  } catch {
    throw problem(404, `block ${cid.toString()} is not what its codec says: ask for dag-scope=block or format=raw`)
  }
}

/** @throws NOT_FOUND for a block that is missing below the terminal one; LIMIT_EXCEEDED past GATEWAY_DEPTH_MAX; what the store throws. */
export async function * walkCar (store: BlockStoreReadonly, plan: CarPlan, signal: AbortSignal): AsyncGenerator<CarBlock> {
  const { path, scope } = plan
  const sent = plan.dups ? null : new Marks(store)
  const done = plan.dups ? null : new Marks(store)
  for (const cid of path.way) {
    if (sent?.add(cid) !== false) yield * visible(cid, await fetchBlock(store, cid, signal))
  }
  const stack: Array<Iterator<Step>> = [[{ cid: path.terminal, span: plan.span }].values()]
  while (stack.length > 0) {
    const next = stack.at(-1)?.next()
    if (next === undefined || next.done === true) {
      stack.pop()
      continue
    }
    const step = next.value
    // A node that was walked whole need not be walked again; one that was walked for a range may hide more below it.
    if (step.span === null ? done?.add(step.cid) === false : done?.has(step.cid) === true) continue
    const bytes = await fetchBlock(store, step.cid, signal)
    if (sent?.add(step.cid) !== false) yield * visible(step.cid, bytes)
    if (scope === 'block') return
    if (stack.length > GATEWAY_DEPTH_MAX) {
      throw new SnapshotterError('LIMIT_EXCEEDED', `block ${step.cid.toString()} lies more than ${GATEWAY_DEPTH_MAX} links below its root`)
    }
    const inside = stack.length === 1 ? path.value : null
    const node: GatewayNode = inside === null ? readNode(step.cid, bytes) : { kind: 'document', value: inside }
    stack.push(scope === 'all' ? everythingBelow(node, step) : entityBelow(node, step, plan.span !== null))
  }
}

async function fetchBlock (store: BlockStoreReadonly, cid: CID, signal: AbortSignal): Promise<VerifiedBytes> {
  const bytes = await store.get(cid, { signal })
  if (bytes === null) throw new SnapshotterError('NOT_FOUND', `block ${cid.toString()} is not here`)
  return bytes
}

/** Identity CIDs carry their block: it never stands in a CAR (trustless-gateway spec, "CAR dups"). */
function * visible (cid: CID, bytes: VerifiedBytes): Generator<CarBlock> {
  if (cid.multihash.code !== CODE_IDENTITY) yield { cid, bytes }
}

function * everythingBelow (node: GatewayNode, { cid }: Step): Generator<Step> {
  if (node.kind === 'opaque') throw new SnapshotterError('UNSUPPORTED', `links of block ${cid.toString()} cannot be followed`)
  for (const child of childrenOf(node)) yield { cid: child, span: null }
}

/** A file's bytes, or what it takes to list a directory. */
function * entityBelow (node: GatewayNode, { span }: Step, ranged: boolean): Generator<Step> {
  if (node.kind === 'file') yield * fileBelow(node.file, span, ranged)
  if (node.kind !== 'shard') return
  for (let link = 0; link < node.node.links; link++) {
    if (isSubShard(node.node, node.geometry, link)) yield { cid: node.node.anyCid(link), span: null }
  }
}

/** Only what holds bytes of the span; a range needs no empty children, a whole file is sent with them. */
function * fileBelow (file: FileNode, span: ByteSpan | null, ranged: boolean): Generator<Step> {
  const wanted = span ?? { from: 0, to: file.size }
  for (let child = 0; child < file.children; child++) {
    const from = file.starts[child] ?? 0
    const to = file.starts[child + 1] ?? 0
    if (ranged && (from === to || from >= wanted.to || to <= wanted.from)) continue
    const whole = wanted.from <= from && wanted.to >= to
    yield { cid: file.cid(child), span: whole ? null : { from: Math.max(wanted.from - from, 0), to: Math.min(wanted.to, to) - from } }
  }
}

/** A set of CIDs in two bits a block: the same bytes linked as raw and as a node are two blocks of a CAR. */
class Marks {
  readonly #store: BlockStoreReadonly
  #bits: Uint8Array

  constructor (store: BlockStoreReadonly) {
    this.#store = store
    this.#bits = new Uint8Array(Math.ceil(store.ordinals / 4))
  }

  has (cid: CID): boolean {
    const bit = this.#bitOf(cid)
    return bit !== null && ((this.#bits[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0
  }

  /** False when it was in already. Identity CIDs are never in. */
  add (cid: CID): boolean {
    const bit = this.#bitOf(cid)
    if (bit === null) return true
    this.#growTo(bit >>> 3)
    const byte = this.#bits[bit >>> 3] ?? 0
    this.#bits[bit >>> 3] = byte | (1 << (bit & 7))
    return (byte & (1 << (bit & 7))) === 0
  }

  /** A store that others write has more blocks at the end of a walk than at its beginning. */
  #growTo (place: number): void {
    if (place < this.#bits.byteLength) return
    const more = new Uint8Array(Math.max(2 * this.#bits.byteLength, place + 1))
    more.set(this.#bits)
    this.#bits = more
  }

  #bitOf (cid: CID): number | null {
    const ordinal = this.#store.ordinal(cid)
    return ordinal === null ? null : ordinal * 2 + (cid.code === CODE_RAW ? 0 : 1)
  }
}
