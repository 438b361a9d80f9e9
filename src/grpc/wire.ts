// The messages of proto/*.proto as proto-loader hands them over (camelCase, int64 as number, enums as names, absent
// messages as null, absent scalars as zero), and the few translations between them and our own types.

export interface Timestamp { readonly seconds: number, readonly nanos: number }
export interface FieldMask { readonly paths: readonly string[] }
export type StringMap = Readonly<Record<string, string>>

export interface Descriptor { readonly mediaType: string, readonly digest: string, readonly size: number, readonly annotations?: StringMap }

export type WireKind = 'UNKNOWN' | 'VIEW' | 'ACTIVE' | 'COMMITTED'
export interface WireMount { readonly type: string, readonly source: string, readonly target: string, readonly options: readonly string[] }
export interface WireSnapshotInfo {
  readonly name: string
  readonly parent: string
  readonly kind: WireKind
  readonly createdAt: Timestamp | null
  readonly updatedAt: Timestamp | null
  readonly labels: StringMap
}
export interface SnapshotKey { readonly snapshotter: string, readonly key: string }
export interface PrepareRequest extends SnapshotKey { readonly parent: string, readonly labels: StringMap }
export interface CommitRequest extends SnapshotKey { readonly name: string, readonly labels: StringMap, readonly parent?: string }
export interface UpdateSnapshotRequest { readonly snapshotter: string, readonly info: WireSnapshotInfo | null, readonly updateMask: FieldMask | null }
export interface ListSnapshotsRequest { readonly snapshotter: string, readonly filters: readonly string[] }

export interface WireContentInfo { readonly digest: string, readonly size: number, readonly labels: StringMap }
export type WriteAction = 'STAT' | 'WRITE' | 'COMMIT'
export interface WriteRequest {
  readonly action: WriteAction
  readonly ref?: string
  readonly total?: number
  readonly expected?: string
  readonly offset?: number
  readonly data?: Uint8Array
  readonly labels?: StringMap
}
export interface WriteResponse { readonly action: WriteAction, readonly offset: number, readonly total: number, readonly digest: string }

export interface WireImage { readonly name: string, readonly labels: StringMap, readonly target: Descriptor | null }
export interface WireLease { readonly id: string, readonly labels: StringMap }
export interface WireContainer {
  readonly id: string
  readonly image: string
  readonly snapshotter: string
  readonly snapshotKey: string
  readonly createdAt: Timestamp | null
}
export interface WirePlugin {
  readonly type: string
  readonly id: string
  readonly exports: StringMap
  readonly capabilities: readonly string[]
  readonly initErr: { readonly code: number, readonly message: string } | null
}

const NS_PER_SECOND = 1_000_000_000n

export function toTimestamp (ns: bigint): Timestamp {
  const nanos = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND
  return { seconds: Number((ns - nanos) / NS_PER_SECOND), nanos: Number(nanos) }
}

export function fromTimestamp (timestamp: Timestamp | null): bigint {
  return timestamp === null ? 0n : BigInt(timestamp.seconds) * NS_PER_SECOND + BigInt(timestamp.nanos)
}
