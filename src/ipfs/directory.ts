// UnixFS directories: a plain one is decoded at once; a sharded one (HAMT) is prefetched as one CAR and walked by
// @helia/unixfs. Paths are followed name by name, in one CAR request where that saves round trips.
import type { CID } from 'multiformats/cid'
import { isSnapshotterError, messageOf, SnapshotterError } from '../base/errors.ts'
import { DIRECTORY_ENTRIES_MAX, DIRECTORY_SHARDS_MAX } from '../base/limits.ts'
import { CODE_DAG_PB } from '../verify/cid.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import type { Need } from './block-source.ts'
import type { DirectoryEntry, Waits } from './blocks.ts'
import { type DagPbNode, decodeDagPb } from './dag-pb.ts'
import { type Exchange, type JobPlan, singleNeed } from './exchange.ts'
import { createHeliaNode } from './helia-node.ts'
import { Session } from './session.ts'
import { decodeUnixfs } from './unixfs-node.ts'

interface DirectoryNode {
  readonly node: DagPbNode
  /** Hex digits before each name in a sharded directory's node; null in a plain one. */
  readonly prefix: number | null
}

/** Null when the CID is no UnixFS directory. @throws BLOCK_INVALID, LIMIT_EXCEEDED, and what fetching throws. */
export async function listDirectory (exchange: Exchange, cid: CID, waits: Waits): Promise<DirectoryEntry[] | null> {
  const session = new Session(exchange, waits)
  try {
    session.request([singleNeed(cid)])
    const directory = decodeDirectory(cid, await session.wait(cid))
    if (directory === null) return null
    return directory.prefix === null ? plainEntries(cid, directory.node) : await shardedEntries(exchange, cid, directory, waits)
  } finally {
    session.close()
  }
}

/** Null when a name is not there, or stands below something that is no directory. */
export async function resolvePath (exchange: Exchange, root: CID, names: readonly string[], waits: Waits): Promise<CID | null> {
  const session = new Session(exchange, waits)
  const step = (cid: CID, depth: number): Need => ({ ...singleNeed(cid), base: depth, deep: depth < names.length })
  const plan: JobPlan = {
    target: { root, names, scope: 'block' },
    expand: (need, bytes) => {
      const name = names[need.base]
      const directory = decodeDirectory(need.cid, bytes)
      const child = name === undefined || directory === null || directory.prefix !== null ? null : findName(directory.node, name)
      return child === null ? [] : [step(child, need.base + 1)]
    },
    keep: () => true
  }
  try {
    let cid = root
    for (const [depth, name] of names.entries()) {
      session.request([step(cid, depth)], depth === 0 ? { ...plan, share: true } : plan)
      const directory = decodeDirectory(cid, await session.wait(cid))
      if (directory === null) return null
      const child = directory.prefix === null
        ? findName(directory.node, name)
        : (await shardedEntries(exchange, cid, directory, waits)).find((entry) => entry.name === name)?.cid ?? null
      if (child === null) return null
      cid = child
    }
    await session.settled(cid) // it comes with the path: whoever opens it next finds it here
    return cid
  } finally {
    session.close()
  }
}

function decodeDirectory (cid: CID, bytes: VerifiedBytes): DirectoryNode | null {
  if (cid.code !== CODE_DAG_PB) return null
  const node = decodeDagPb(cid, bytes)
  if (node.data === null) return null
  const { kind, fanout } = decodeUnixfs(cid, node)
  if (kind === 'directory') return { node, prefix: null }
  if (kind !== 'hamt') return null
  if (fanout === null || fanout > 1024 || fanout < 8 || (fanout & (fanout - 1)) !== 0) {
    throw new SnapshotterError('BLOCK_INVALID', `sharded directory ${cid.toString()}: fanout ${fanout ?? 'missing'}`)
  }
  return { node, prefix: (fanout - 1).toString(16).length }
}

function plainEntries (cid: CID, node: DagPbNode): DirectoryEntry[] {
  const entries: DirectoryEntry[] = []
  for (let link = 0; link < node.links; link++) entries.push({ name: node.name(link), cid: node.cid(link) })
  return checked(cid, entries)
}

function checked (cid: CID, entries: readonly DirectoryEntry[]): DirectoryEntry[] {
  const seen = new Set<string>()
  for (const { name } of entries) {
    const wrong = name === '' || name.includes('/') ? 'an entry' : seen.has(name) ? 'two entries' : null
    if (wrong !== null) throw new SnapshotterError('BLOCK_INVALID', `directory ${cid.toString()} has ${wrong} called ${JSON.stringify(name)}`)
    seen.add(name)
  }
  return [...entries]
}

function findName (node: DagPbNode, name: string): CID | null {
  const wanted = Buffer.from(name)
  for (let link = 0; link < node.links; link++) if (wanted.equals(node.nameBytes(link))) return node.cid(link)
  return null
}

async function shardedEntries (exchange: Exchange, cid: CID, directory: DirectoryNode, waits: Waits): Promise<DirectoryEntry[]> {
  const session = new Session(exchange, waits)
  const plan: JobPlan = {
    target: { root: cid, names: [], scope: 'entity' },
    expand: ({ cid: shard }, bytes) => shards(decodeDirectory(shard, bytes)),
    keep: () => true
  }
  let blocks = 0
  const node = await createHeliaNode({ has: () => false, get: () => null, put: () => {} }, async (shard) => {
    if (++blocks > DIRECTORY_SHARDS_MAX) throw tooLarge(cid)
    session.request([singleNeed(shard)])
    return await session.wait(shard)
  })
  try {
    session.request(shards(directory), plan)
    const entries: DirectoryEntry[] = []
    for await (const entry of node.unixfs.ls(cid, waits.signal === undefined ? {} : { signal: waits.signal })) {
      if (entries.length >= DIRECTORY_ENTRIES_MAX) throw tooLarge(cid)
      entries.push({ name: entry.name, cid: entry.cid })
    }
    return checked(cid, entries)
  } catch (error) {
    throw refusal(cid, error, waits.signal)
  } finally {
    session.close()
    await node.stop()
  }
}

/** The nodes below a sharded directory's node; its own entries have longer names. */
function shards (directory: DirectoryNode | null): Need[] {
  if (directory?.prefix == null) return []
  const needs: Need[] = []
  for (let link = 0; link < directory.node.links; link++) {
    if (directory.node.nameBytes(link).byteLength === directory.prefix) needs.push({ ...singleNeed(directory.node.cid(link)), deep: true })
  }
  return needs
}

/** The blocks below a directory's block that are directory still; none for a plain one. @throws BLOCK_INVALID */
export function directoryShards (cid: CID, bytes: VerifiedBytes): CID[] {
  return shards(decodeDirectory(cid, bytes)).map((need) => need.cid)
}

function tooLarge (cid: CID): SnapshotterError {
  return new SnapshotterError('LIMIT_EXCEEDED',
    `directory ${cid.toString()} has more than ${DIRECTORY_ENTRIES_MAX} entries or ${DIRECTORY_SHARDS_MAX} shards`)
}

/** Helia wraps what our broker threw into an AggregateError; its own errors, which have many classes, are about the publisher's bytes. */
function refusal (cid: CID, error: unknown, signal: AbortSignal | undefined): unknown {
  const { errors } = (error ?? {}) as { errors?: unknown }
  const cause: unknown = Array.isArray(errors) && errors.length > 0 ? errors[0] : error
  if (isSnapshotterError(cause) || signal?.aborted === true) return cause
  return new SnapshotterError('BLOCK_INVALID', `sharded directory ${cid.toString()}: ${messageOf(cause)}`, {}, { cause })
}
