// One blob into containerd's content store, by its lock-step Write stream: STAT says where an earlier try stopped,
// WRITEs bring the rest, COMMIT names size, digest and labels. Safe beside other writers of the same blob. Protocol:
// containerd api/services/content/v1/content.proto.
import { hasCode, SnapshotterError } from '../base/errors.ts'
import { sleep, systemClock } from '../base/clock.ts'
import { CONTAINERD_RETRY_MS, CONTAINERD_WRITE_PATIENCE_MS, CONTENT_PIECE_BYTES } from '../base/limits.ts'
import type { Digest } from '../verify/digest.ts'
import type { VerifiedBytes } from '../verify/verified-bytes.ts'
import type { ContainerdClient, WriteCall } from './containerd-client.ts'
import { fromStatus } from './status.ts'
import type { StringMap, WriteRequest, WriteResponse } from './wire.ts'

export interface Blob {
  /** Equal refs make concurrent writers share one ingest; containerd's own pullers use `<kind>-<digest>`. */
  readonly ref: string
  readonly digest: Digest
  readonly bytes: VerifiedBytes
  /** Those of the garbage collector: they are set whoever wrote the blob. */
  readonly labels: StringMap
}

/** True when this call brought the blob, false when it was there. @throws CONTAINERD, UNAVAILABLE after `CONTAINERD_WRITE_PATIENCE_MS`. */
export async function writeBlob (client: ContainerdClient, blob: Blob, lease: string, signal: AbortSignal): Promise<boolean> {
  const started = systemClock.monotonicMs()
  while (true) {
    try {
      await writeOnce(client, blob, lease, signal)
      return true
    } catch (error) {
      if (hasCode(error, 'ALREADY_EXISTS')) {
        // Whoever wrote it may have set no labels: without ours the collector takes what the blob refers to.
        await client.labelContent(blob.digest, blob.labels, lease)
        return false
      }
      const mayRetry = hasCode(error, 'UNAVAILABLE') || await isStaleIngest(client, blob, lease, error)
      if (!mayRetry || systemClock.monotonicMs() - started > CONTAINERD_WRITE_PATIENCE_MS) throw error
      await sleep(CONTAINERD_RETRY_MS, signal)
    }
  }
}

/**
 * Makes a blob known to containerd without its bytes, which only a content store like ours allows: one that has them already,
 * as far as containerd can tell (core/metadata/content.go Writer, sharing policy "shared"). False when this store wants bytes.
 */
export async function adoptBlob (
  client: ContainerdClient, { digest, size }: { readonly digest: Digest, readonly size: number }, lease: string, signal: AbortSignal
): Promise<boolean> {
  const ref = `ipfs-${digest}`
  const known = { ref, total: size, expected: digest }
  try {
    const adopted = await withWrite(client, digest, lease, signal, async (ask) => {
      const { offset } = await ask({ action: 'STAT', ...known })
      if (offset !== size) return false
      await ask({ action: 'COMMIT', ...known, offset })
      return true
    })
    if (!adopted) await client.abortWrite(ref, lease).catch(() => {})
    return adopted
  } catch (error) {
    if (hasCode(error, 'ALREADY_EXISTS')) return true
    // Somebody else fetches it, or the store is of another mind: the image works all the same.
    if (hasCode(error, 'UNAVAILABLE', 'FAILED_PRECONDITION', 'INVALID_ARGUMENT')) return false
    throw error
  }
}

/** Bytes of another try that do not lead to our digest stay in the ingest until somebody aborts it. */
async function isStaleIngest (client: ContainerdClient, blob: Blob, lease: string, error: unknown): Promise<boolean> {
  if (!hasCode(error, 'FAILED_PRECONDITION')) return false
  await client.abortWrite(blob.ref, lease).catch(() => {})
  return true
}

async function writeOnce (client: ContainerdClient, { ref, digest, bytes, labels }: Blob, lease: string, signal: AbortSignal): Promise<void> {
  const total = bytes.byteLength
  await withWrite(client, digest, lease, signal, async (ask) => {
    const { offset } = await ask({ action: 'STAT', ref, total, expected: digest })
    let at = offset
    while (total - at > CONTENT_PIECE_BYTES) {
      const piece = bytes.subarray(at, at + CONTENT_PIECE_BYTES)
      await ask({ action: 'WRITE', ref, total, expected: digest, offset: at, data: piece })
      at += piece.byteLength
    }
    const rest = bytes.subarray(at)
    await ask({ action: 'COMMIT', ref, total, expected: digest, offset: at, labels, ...rest.byteLength > 0 ? { data: rest } : {} })
  })
}

type Ask = (request: WriteRequest) => Promise<WriteResponse>

async function withWrite<Result> (
  client: ContainerdClient, digest: Digest, lease: string, signal: AbortSignal, work: (ask: Ask) => Promise<Result>
): Promise<Result> {
  signal.throwIfAborted()
  const call = client.openWrite(lease)
  const onAbort = (): void => call.cancel()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await work(lockStep(call))
  } catch (error) {
    call.cancel()
    throw signal.aborted ? signal.reason : fromStatus(error, `Write of ${digest}`)
  } finally {
    signal.removeEventListener('abort', onAbort)
    call.end()
  }
}

/** One request, one answer. Further answers (containerd repeats that to COMMIT) are dropped. */
function lockStep (call: WriteCall): Ask {
  let waiting: { resolve: (answer: WriteResponse) => void, reject: (error: Error) => void } | null = null
  let failure: Error | null = null
  const fail = (error: Error): void => {
    failure ??= error
    waiting?.reject(failure)
    waiting = null
  }
  call.on('data', (answer: WriteResponse) => {
    waiting?.resolve(answer)
    waiting = null
  })
  call.on('error', fail)
  call.on('end', () => fail(new SnapshotterError('CONTAINERD', 'containerd ended a Write without an answer')))
  return async (request) => await new Promise<WriteResponse>((resolve, reject) => {
    if (failure !== null) return reject(failure)
    waiting = { resolve, reject }
    call.write(request)
  })
}
