// The one seam between snapshotter semantics and lazy layers: whoever mounts layers implements it, and knows nothing
// of keys, parents or containerd.

export interface LazyMountRequest {
  readonly chainId: string
  /** Backend name of the parent snapshot, or null for a base layer. */
  readonly parentChain: string | null
  /** As the client sent them; untrusted hints. None when the layer is mounted before it is asked for. */
  readonly labels: Readonly<Record<string, string>>
  /** An empty directory. */
  readonly target: string
  readonly signal: AbortSignal
}

export interface LazyMount {
  /** Stored with the snapshot and shown to clients; keys below `containerd.io/snapshot/`. */
  readonly labels: Record<string, string>
  /** Opaque to us, stored, handed back to `restore`. The store lies on a disk that may lie: authenticate it. */
  readonly restore: string
}

export interface LazyLayers {
  /**
   * Resolves within its own bound. Null when no known image has this chain ID (an ordinary snapshot then serves).
   * Mounts the layer read-only on `target`; throws on failure and leaves nothing mounted then.
   */
  readonly mount: (request: LazyMountRequest) => Promise<LazyMount | null>
  /**
   * After a restart: mounts again from what was stored, or from what is known by now. The target may be mounted still,
   * alive or dead. Returns what to store instead: another text when the stored one was of no use.
   */
  readonly restore: (request: { readonly chainId: string, readonly restore: string, readonly target: string }) => Promise<string>
  /** Also of a target that this process did not mount, or that is not mounted at all. */
  readonly unmount: (target: string) => Promise<void>
  /** @throws UNAVAILABLE when the backing of a mounted target is gone. */
  readonly check: (target: string) => Promise<void>
}

/** A snapshotter without lazy layers: every layer becomes an ordinary overlay snapshot. */
export const NO_LAZY_LAYERS: LazyLayers = {
  mount: async () => null,
  restore: async ({ restore }) => restore,
  unmount: async () => {},
  check: async () => {}
}
