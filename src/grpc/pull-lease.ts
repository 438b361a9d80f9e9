// The lease that holds a pull's blobs and snapshots until the image record does. Nothing renews a lease, so it lives
// long and says whose it is: what a killed pull left behind, the next one takes away.
import { randomUUID } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { systemClock } from '../base/clock.ts'
import { asSnapshotterError, hasCode } from '../base/errors.ts'
import { LEASE_LIFETIME_MS } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { ContainerdClient } from './containerd-client.ts'
import type { StringMap } from './wire.ts'

const LABEL_EXPIRE = 'containerd.io/gc.expire'
const LABEL_OWNER = 'ipfs-snapshotter.io/owner'
const LABEL_REFERENCE = 'ipfs-snapshotter.io/reference'

/** Runs `work` under a fresh lease; when it throws, the deletion waits until what was written is collected. */
export async function withLease<Result> (
  client: ContainerdClient, reference: string, log: Log, work: (lease: string) => Promise<Result>, labels: StringMap = {}
): Promise<Result> {
  const id = `ipfs-snapshotter-${randomUUID()}`
  // Made and deleted whoever gives up meanwhile: of a call that was broken off nobody knows whether containerd made the lease.
  const steady = client.withoutSignal()
  let done = false
  try {
    await steady.createLease(id, {
      [LABEL_EXPIRE]: new Date(systemClock.now() + LEASE_LIFETIME_MS).toISOString().replace(/\.\d+Z$/, 'Z'),
      [LABEL_OWNER]: ownerName(),
      [LABEL_REFERENCE]: reference.slice(0, 1024),
      ...labels
    })
    try {
      const result = await work(id)
      done = true
      return result
    } finally {
      await steady.deleteLease(id, !done).catch((error: unknown) => {
        log.warn({ lease: id, error: asSnapshotterError(error).line }, 'lease of a pull not deleted, it will expire')
      })
    }
  } finally {
    steady.close()
  }
}

/** Deletes leases whose pull is dead. Those of other PID namespaces cannot be judged and stay until they expire. */
export async function dropDeadLeases (client: ContainerdClient, log: Log): Promise<void> {
  const leases = await client.leases(`labels.${JSON.stringify(LABEL_OWNER)}`)
  for (const { id, labels } of leases.filter((lease) => isDead(lease.labels[LABEL_OWNER] ?? ''))) {
    log.info({ lease: id, reference: labels[LABEL_REFERENCE] }, 'dropping the lease of a dead pull')
    await client.deleteLease(id, false).catch((error: unknown) => {
      if (!hasCode(error, 'NOT_FOUND')) throw error
    })
  }
}

/** boot id / PID namespace / PID / start time in clock ticks since boot (proc_pid_stat(5) field 22). */
function ownerName (): string {
  return [bootId(), pidNamespace(), process.pid, startTime(process.pid) ?? 0].join('/')
}

function isDead (owner: string): boolean {
  const [boot, namespace, pid, start] = owner.split('/')
  if (boot !== bootId()) return boot !== undefined && boot !== ''
  return namespace === pidNamespace() && startTime(Number(pid)) !== Number(start)
}

function bootId (): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

function pidNamespace (): string {
  return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? ''
}

/** Null when there is no such process. */
function startTime (pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the command in parentheses and may hold anything.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
  } catch {
    return null
  }
}
