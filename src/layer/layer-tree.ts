// Applies a layer's entries in order, as containerd's applier does onto an overlay's upper directory
// (pkg/archive/tar.go, AsOverlay): later entries replace earlier ones, directories merge, a hard link shares and restyles
// its inode, whiteouts become character devices 0:0 and opaque marks xattrs. The root keeps 0755 root:root, as there.
// Refused like there: links to what the layer lacks, parents that are no directories, a whiteout of what the layer holds.
import { SnapshotterError } from '../base/errors.ts'
import { LAYER_ENTRIES_MAX, LAYER_METADATA_BYTES_MAX } from '../base/limits.ts'
import { type LayerEntry, show } from './layer-entry.ts'
import type { InodeKind } from './layer-index.ts'
import { ParentCache, type Place } from './parent-cache.ts'
import { NO_CHUNKS, type TreeNode } from './tree-node.ts'
import { checkPath, cleanPath, type LinkBudget, type Origin, resolveLinks } from './tree-path.ts'
import { OPAQUE_XATTR, setXattrs } from './xattr-policy.ts'

const WHITEOUT_PREFIX = '.wh.'
const OPAQUE_NAME = '.wh..wh..opq'
const DIRECTORY_MODE = 0o755
const LINK_MODE = 0o777
// containerd sets times through int64 nanoseconds and replaces what does not fit, and what lies before 1970, by 0.
const SECONDS_MAX = 9_223_372_036
const LAST_NANOSECONDS_MAX = 854_775_807
const DEVICE_MAJOR_MAX = 0xfff // the kernel's dev_t: 12 bits and 20 bits
const DEVICE_MINOR_MAX = 0xfffff
const ID_MAX = 0xffff_fffe // the last 32-bit number means "no id"

export interface TreeOptions {
  readonly origin: Origin
  /** Names below the root that are the format's own and no part of the layer's content. */
  readonly skip?: ReadonlySet<string>
  readonly entriesMax?: number
  readonly metadataBytesMax?: number
}

export class LayerTree {
  readonly root: TreeNode
  readonly #origin: Origin
  readonly #skip: ReadonlySet<string>
  readonly #entriesMax: number
  readonly #metadataBytesMax: number
  readonly #links: LinkBudget
  #nodes = 0
  #names = 0
  readonly #parents = new ParentCache()
  #metadataBytes = 0

  constructor (options: TreeOptions) {
    this.#origin = options.origin
    this.#skip = options.skip ?? new Set()
    this.#entriesMax = options.entriesMax ?? LAYER_ENTRIES_MAX
    this.#metadataBytesMax = options.metadataBytesMax ?? LAYER_METADATA_BYTES_MAX
    this.#links = { left: 2 * this.#entriesMax }
    this.root = this.#impliedDirectory()
  }

  /** The node whose content follows, for a regular file; null for everything else and for entries without effect. */
  apply (entry: LayerEntry): TreeNode | null {
    const place = this.#parents.find(entry.path) ?? this.#findPlace(entry)
    if (place === null) {
      this.#applyRoot(entry)
      return null
    }
    const { parent, base, top } = place
    if (top && this.#skip.has(base)) return null
    this.#checkMetadata(entry)
    if (base === OPAQUE_NAME) {
      (parent.xattrs ??= new Map()).set(OPAQUE_XATTR, Buffer.from('y'))
      return null
    }
    if (base.startsWith(WHITEOUT_PREFIX)) {
      this.#addWhiteout(parent, base.slice(WHITEOUT_PREFIX.length), entry)
      return null
    }
    return this.#addEntry(parent, base, entry)
  }

  /** Null: the root itself. */
  #findPlace ({ path }: LayerEntry): Place | null {
    const cleaned = cleanPath(path, this.#origin)
    const base = cleaned.pop()
    if (base === undefined) return null
    const parentPath = resolveLinks(this.root, cleaned, this.#links, this.#origin)
    checkPath([...parentPath, base], this.#origin)
    const place = { parent: this.#makeDirectories(parentPath, path), base, top: cleaned.length === 0 }
    this.#parents.remember(path, place)
    return place
  }

  /** containerd ignores an entry that is the root itself; the time is harmless and kept. */
  #applyRoot (entry: LayerEntry): void {
    if (entry.type !== 'directory') return
    this.root.implied = false
    setTime(this.root, entry)
  }

  #addWhiteout (parent: TreeNode, name: string, entry: LayerEntry): void {
    if (name === '' || name === '.' || name === '..') throw this.#invalid(entry.path, 'is no valid whiteout')
    if (parent.entries?.has(name) === true) throw this.#invalid(entry.path, 'is a whiteout of a name that this layer holds')
    const node = this.#newNode('char', { ...entry, deviceMajor: 0, deviceMinor: 0, size: 0 })
    this.#style(node, { ...entry, mode: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 }, false)
    this.#name(parent, name, node)
  }

  #addEntry (parent: TreeNode, base: string, entry: LayerEntry): TreeNode | null {
    const existing = parent.entries?.get(base)
    if (entry.type === 'directory' && existing?.entries !== null && existing !== undefined) {
      existing.implied = false
      this.#style(existing, entry, true)
      return null
    }
    if (existing !== undefined) {
      parent.entries?.delete(base)
      if (existing.entries !== null || existing.kind === 'symlink') this.#parents.clear()
    }
    const node = entry.type === 'hardlink' ? this.#linkTarget(entry) : this.#newNode(kindOf(entry), entry)
    this.#style(node, entry, true)
    this.#name(parent, base, node)
    return entry.type === 'file' ? node : null
  }

  #linkTarget (entry: LayerEntry): TreeNode {
    const cleaned = cleanPath(entry.linkTarget, this.#origin)
    const base = cleaned.pop()
    const parents = resolveLinks(this.root, cleaned, this.#links, this.#origin)
    let node: TreeNode | undefined = this.root
    for (const name of base === undefined ? [] : [...parents, base]) node = node?.entries?.get(name)
    if (node === undefined) throw this.#invalid(entry.path, `is a hard link to ${show(entry.linkTarget)}, which the layer does not hold`)
    if (node.entries !== null) throw this.#invalid(entry.path, `is a hard link to the directory ${show(entry.linkTarget)}`)
    return node
  }

  #makeDirectories (path: readonly string[], of: string): TreeNode {
    let node = this.root
    for (const name of path) {
      let next = node.entries?.get(name)
      if (next === undefined) {
        next = this.#impliedDirectory()
        this.#name(node, name, next)
      } else if (next.entries === null) {
        throw this.#invalid(of, `lies below ${show(name)}, which is no directory`)
      }
      node = next
    }
    return node
  }

  #style (node: TreeNode, entry: LayerEntry, xattrs: boolean): void {
    if (!(entry.uid >= 0 && entry.uid <= ID_MAX && entry.gid >= 0 && entry.gid <= ID_MAX)) {
      throw this.#invalid(entry.path, `has the owner ${entry.uid}:${entry.gid}`)
    }
    node.uid = entry.uid
    node.gid = entry.gid
    node.mode = node.kind === 'symlink' ? LINK_MODE : entry.mode
    setTime(node, entry)
    if (xattrs) setXattrs(node, entry.xattrs, entry.path, this.#origin)
  }

  #newNode (kind: InodeKind, entry: Pick<LayerEntry, 'path' | 'size' | 'deviceMajor' | 'deviceMinor' | 'linkTarget'>): TreeNode {
    const { deviceMajor, deviceMinor } = entry
    if (!(deviceMajor >= 0 && deviceMajor <= DEVICE_MAJOR_MAX && deviceMinor >= 0 && deviceMinor <= DEVICE_MINOR_MAX)) {
      throw this.#invalid(entry.path, `has the device number ${deviceMajor}:${deviceMinor}`)
    }
    if (kind === 'symlink' && (entry.linkTarget === '' || entry.linkTarget.includes('\0'))) {
      throw this.#invalid(entry.path, 'is a symbolic link without a valid target')
    }
    return {
      kind, mode: 0, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, size: entry.size, rdevMajor: deviceMajor, rdevMinor: deviceMinor,
      target: kind === 'symlink' ? entry.linkTarget : '', xattrs: null, entries: kind === 'directory' ? new Map() : null, implied: false,
      chunks: NO_CHUNKS, dataOffset: -1, ordinal: this.#count(), inode: -1, links: 0
    }
  }

  #impliedDirectory (): TreeNode {
    const node = this.#newNode('directory', { path: '/', size: 0, deviceMajor: 0, deviceMinor: 0, linkTarget: '' })
    node.mode = DIRECTORY_MODE
    node.implied = true
    return node
  }

  #name (parent: TreeNode, name: string, node: TreeNode): void {
    parent.entries?.set(name, node)
    this.#names++
    this.#checkCount()
  }

  #count (): number {
    this.#checkCount()
    return this.#nodes++
  }

  /** Everything ever made counts, replaced entries too: this bounds work as well as memory. */
  #checkCount (): void {
    if (this.#names <= this.#entriesMax && this.#nodes <= this.#entriesMax) return
    throw new SnapshotterError('LIMIT_EXCEEDED', `${this.#origin.what}: more than ${this.#entriesMax} entries`)
  }

  /** Counts what entries bring, replaced ones too. A name keeps its whole path alive: the engine cuts without copying. */
  #checkMetadata ({ path, linkTarget, xattrs }: LayerEntry): void {
    this.#metadataBytes += path.length + linkTarget.length
    for (const [name, value] of xattrs) this.#metadataBytes += name.length + value.byteLength
    if (this.#metadataBytes <= this.#metadataBytesMax) return
    throw new SnapshotterError('LIMIT_EXCEEDED',
      `${this.#origin.what}: more than ${this.#metadataBytesMax} bytes of names, link targets and xattrs`)
  }

  #invalid (path: string, why: string): SnapshotterError {
    return new SnapshotterError(this.#origin.code, `${this.#origin.what}: ${show(path)} ${why}`)
  }
}

function kindOf (entry: LayerEntry): InodeKind {
  return entry.type === 'hardlink' ? 'file' : entry.type
}

function setTime (node: TreeNode, { mtimeSeconds, mtimeNanoseconds }: LayerEntry): void {
  const isLast = mtimeSeconds === SECONDS_MAX && mtimeNanoseconds <= LAST_NANOSECONDS_MAX
  const fits = mtimeSeconds >= 0 && (mtimeSeconds < SECONDS_MAX || isLast)
  node.mtimeSeconds = fits ? mtimeSeconds : 0
  node.mtimeNanoseconds = fits ? mtimeNanoseconds : 0
}
