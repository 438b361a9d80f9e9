// The Content service as containerd's proxy plugin calls it: translate, call, translate. The lock-step of Write is that of
// containerd plugins/services/content/contentserver.
import type { ServerDuplexStream, ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js'
import { SnapshotterError } from '../base/errors.ts'
import type { BlobInfo, IngestStatus } from '../content/blob.ts'
import { type ContentStore, requireDigest } from '../content/content-store.ts'
import type { Announced, Ingest } from '../content/ingest.ts'
import { isDigest } from '../verify/digest.ts'
import { type Calls, sender } from './calls.ts'
import {
  type FieldMask, type Timestamp, toTimestamp, type WireContentInfo, type WriteRequest, type WriteResponse
} from './wire.ts'

interface Named { readonly digest: string }
interface Range extends Named { readonly offset: number, readonly size: number }
interface UpdateRequest { readonly info: WireContentInfo | null, readonly updateMask: FieldMask | null }
interface Filtered { readonly filters: readonly string[] }
interface Referred { readonly ref: string }
interface WireInfo extends WireContentInfo { readonly createdAt: Timestamp, readonly updatedAt: Timestamp }
interface Piece { readonly offset: number, readonly data: Uint8Array }
type Reply = WriteResponse & Partial<Record<'startedAt' | 'updatedAt', Timestamp>>
type WriteStream = ServerDuplexStream<WriteRequest, Reply>

export function contentService (content: ContentStore, calls: Calls): UntypedServiceImplementation {
  return {
    Info: calls.unary('Content.Info', async ({ digest }: Named) => ({ info: toInfo(content.info(requireDigest(digest))) })),
    Update: calls.unary('Content.Update', async ({ info, updateMask }: UpdateRequest) => {
      if (info === null) throw new SnapshotterError('INVALID_ARGUMENT', 'an update without info')
      return { info: toInfo(content.update(requireDigest(info.digest), info.labels, updateMask?.paths ?? [])) }
    }),
    List: calls.streaming('Content.List', async (call: ServerWritableStream<Filtered, { info: WireInfo[] }>) => {
      const send = sender(call)
      for (const page of content.list(call.request.filters)) await send({ info: page.map(toInfo) })
    }),
    Delete: calls.unary('Content.Delete', async ({ digest }: Named) => {
      await content.delete(requireDigest(digest))
      return {}
    }),
    Read: calls.streaming('Content.Read', async (call: ServerWritableStream<Range, Piece>) => {
      const { digest, offset, size } = call.request
      const send = sender(call)
      let at = offset
      for await (const data of content.read(requireDigest(digest), offset, size)) {
        await send({ offset: at, data })
        at += data.length
      }
    }),
    Status: calls.unary('Content.Status', async ({ ref }: Referred) => ({ status: toStatusMessage(await content.status(ref)) })),
    ListStatuses: calls.unary('Content.ListStatuses', async ({ filters }: Filtered) => ({ statuses: (await content.statuses(filters)).map(toStatusMessage) })),
    Write: calls.duplex('Content.Write', async (call: WriteStream) => { await write(content, call) }),
    Abort: calls.unary('Content.Abort', async ({ ref }: Referred) => {
      await content.abort(ref)
      return {}
    })
  }
}

/** One writer: the first message names the ingest, each is answered before the next is read, COMMIT ends it. */
async function write (content: ContentStore, call: WriteStream): Promise<void> {
  const send = sender(call)
  let ingest: Ingest | null = null
  let announced: Announced = { total: 0, expected: '' }
  try {
    // Leaving the loop must not destroy the stream: a status is still to be sent.
    for await (const request of call.iterator({ destroyOnReturn: false }) as AsyncIterable<WriteRequest>) {
      const { action, ref = '', total = 0, expected = '' } = request
      if (ingest === null && ref === '') throw new SnapshotterError('INVALID_ARGUMENT', 'the first message of a Write must have a ref')
      ingest ??= await content.ingest(ref, total, expected)
      // What an earlier writer of this ref announced does not bind this one.
      announced = { total: total > 0 ? total : announced.total, expected: expected === '' ? announced.expected : expected }
      ingest.announce(announced)
      await refuseKnown(content, ingest, expected)
      const answer = action === 'STAT' ? status(ingest) : await append(content, ingest, request, announced)
      await send(answer)
      if (action === 'COMMIT') return
    }
  } catch (error) {
    throw call.cancelled ? new SnapshotterError('CANCELLED', 'the client left a Write', {}, { cause: error }) : error
  } finally {
    if (ingest !== null) await content.leave(ingest)
  }
}

/** @throws ALREADY_EXISTS, and the ingest is gone. */
async function refuseKnown (content: ContentStore, ingest: Ingest, expected: string): Promise<void> {
  if (!isDigest(expected) || !content.has(expected)) return
  await content.abort(ingest.record.ref)
  throw new SnapshotterError('ALREADY_EXISTS', `content ${expected} exists already`)
}

function status (ingest: Ingest): Reply {
  const { offset, total, startedNs, updatedNs } = ingest.status
  return { action: 'STAT', offset, total, digest: ingest.digest, startedAt: toTimestamp(startedNs), updatedAt: toTimestamp(updatedNs) }
}

async function append (content: ContentStore, ingest: Ingest, request: WriteRequest, { total, expected }: Announced): Promise<Reply> {
  const { action, offset = 0, data = new Uint8Array(), labels = {} } = request
  const { offset: written } = ingest.status
  if (offset !== 0 && offset !== written) throw new SnapshotterError('OUT_OF_RANGE', `a write at ${offset} of an ingest of ${written} bytes`)
  if (offset === 0 && written > 0) await ingest.restart()
  if (data.length > 0) await ingest.write(data)
  const { offset: end } = ingest.status
  const digest = action === 'COMMIT' ? await content.commit(ingest, total, expected, labels) : ingest.digest
  return { action, offset: end, total, digest }
}

function toInfo ({ digest, size, createdNs, updatedNs, labels }: BlobInfo): WireInfo {
  return { digest, size, createdAt: toTimestamp(createdNs), updatedAt: toTimestamp(updatedNs), labels }
}

function toStatusMessage ({ ref, offset, total, expected, startedNs, updatedNs }: IngestStatus): object {
  return { ref, offset, total, expected, startedAt: toTimestamp(startedNs), updatedAt: toTimestamp(updatedNs) }
}
