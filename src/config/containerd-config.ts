// What containerd's config file must say to use this snapshotter, as edits to the file there is: names of keys follow the file's
// `version`, what is asked for follows the version of the binary. Another value at one of our keys is replaced only by force.
import { messageOf, SnapshotterError } from '../base/errors.ts'
import { type Data, type Edit, type Edited, editToml, readToml, valueAt, type Value } from './toml-edit.ts'

export interface ContainerdVersion { readonly major: number, readonly minor: number }

export interface ContainerdWish {
  /** Plugin names; CRI uses the first. */
  readonly names: readonly string[]
  /** Path of our socket. */
  readonly address: string
  readonly hostsDir: string
  readonly cri: boolean
  readonly content: boolean
  readonly version: ContainerdVersion
  readonly force: boolean
}

export interface ContainerdPatch extends Edited {
  /** Where containerd keeps its data. */
  readonly root: string
  /** Whether the file already names another content store than its own. */
  readonly hasOurContent: boolean
}

const CONTENT = 'io.containerd.content.v1.content'
const CONTENT_NAME = 'ipfs-content'
const DOCKER_HOSTS = '/etc/docker/certs.d'
const TRANSFER = ['plugins', 'io.containerd.transfer.v1.local']
const BUILT_IN = ['overlayfs', 'native', 'btrfs', 'zfs', 'devmapper', 'blockfile', 'erofs', 'aufs', CONTENT_NAME]

/** `text` is null where there is no file. @throws CONFIG_INVALID, UNSUPPORTED */
export function patchContainerdConfig (text: string | null, wish: ContainerdWish): ContainerdPatch {
  const wrong = wish.names.find((name) => !/^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/.test(name) || BUILT_IN.includes(name))
  if (wrong !== undefined) throw new SnapshotterError('INVALID_ARGUMENT', `--name ${JSON.stringify(wrong)} is no name for a snapshotter of ours`)
  const { major, minor } = wish.version
  const isNew = text === null || text.trim() === ''
  const base = isNew ? `version = ${major < 2 ? 2 : minor < 3 ? 3 : 4}\n` : text
  const data = parsed(base)
  const fileVersion = versionOf(data, wish.version)
  const edits = [
    ...wish.names.flatMap((name) => proxyEdits(data, wish, name)),
    ...major >= 2 ? transferEdits(data, wish) : [],
    ...wish.cri ? criEdits(data, wish, fileVersion) : [],
    ...wish.content ? contentEdits(data, wish) : []
  ]
  const edited = editToml(base, edits)
  const root = valueAt(data, ['root'])
  return {
    text: edited.text,
    hunks: isNew ? [{ line: 1, removed: [], added: edited.text.trimEnd().split('\n') }] : edited.hunks,
    root: typeof root === 'string' && root !== '' ? root : '/var/lib/containerd',
    hasOurContent: wish.content && contentEdits(data, wish).length === 0
  }
}

function parsed (text: string): Data {
  try {
    return readToml(text)
  } catch (cause) {
    throw new SnapshotterError('CONFIG_INVALID', `is no TOML: ${messageOf(cause).split('\n')[0] ?? ''}`, {}, { cause })
  }
}

function versionOf (data: Data, { major, minor }: ContainerdVersion): number {
  const version = data['version'] ?? 1
  const newest = major < 2 ? 2 : minor < 3 ? 3 : 4
  if (version === 1) {
    throw new SnapshotterError('CONFIG_INVALID',
      'has version 1 (or names none); bring it to a later one with: containerd config migrate, or start from: containerd config default')
  }
  if (typeof version !== 'number' || ![2, 3, 4].includes(version) || version > newest) {
    throw new SnapshotterError('CONFIG_INVALID', `has version ${JSON.stringify(version)}; containerd ${major}.${minor} reads 2 to ${newest}`)
  }
  return version
}

/** Nothing when the value is there; an edit when none or a `vacant` one is. @throws CONFIG_INVALID for another one without force */
function set (data: Data, wish: ContainerdWish, table: readonly string[], key: string, value: Value, vacant: readonly unknown[] = []): Edit[] {
  const is = valueAt(data, [...table, key])
  if (is === value) return []
  if (is !== undefined && !vacant.includes(is) && !wish.force) {
    throw new SnapshotterError('CONFIG_INVALID', `${[...table, key].join('.')} is ${JSON.stringify(is)}, not ${JSON.stringify(value)}; --force replaces it`)
  }
  return [{ kind: 'set', table, key, value }]
}

function proxyEdits (data: Data, wish: ContainerdWish, name: string): Edit[] {
  const table = ['proxy_plugins', name]
  const { major, minor } = wish.version
  const hasExports = major > 2 || (major === 2 && minor >= 1)
  return [
    ...set(data, wish, table, 'type', 'snapshot'),
    ...set(data, wish, table, 'address', wish.address),
    ...hasExports ? set(data, wish, [...table, 'exports'], 'enable_remote_snapshot_annotations', 'true') : []
  ]
}

function transferEdits (data: Data, wish: ContainerdWish): Edit[] {
  const table = [...TRANSFER, 'unpack_config']
  const listed = valueAt(data, table)
  const entries: unknown[] = Array.isArray(listed) ? listed : []
  const has = (name: string): boolean => entries.some((entry) => (entry as Data)['snapshotter'] === name)
  // A list of one's own takes the place of the default one, which is overlayfs.
  const missing = [...listed === undefined ? ['overlayfs'] : [], ...wish.names].filter((name, at, all) => !has(name) && all.indexOf(name) === at)
  return [
    ...hostsEdits(data, wish, TRANSFER, wish.hostsDir),
    ...missing.map((snapshotter): Edit => ({ kind: 'add', table, entry: { platform: 'linux', snapshotter, differ: 'walking' } }))
  ]
}

/** A path list that has the folder is as good. */
function hostsEdits (data: Data, wish: ContainerdWish, table: readonly string[], value: string): Edit[] {
  const is = valueAt(data, [...table, 'config_path'])
  return typeof is === 'string' && is.split(':').includes(wish.hostsDir) ? [] : set(data, wish, table, 'config_path', value, [''])
}

function criEdits (data: Data, wish: ContainerdWish, fileVersion: number): Edit[] {
  const { major, minor } = wish.version
  const before = ['plugins', 'io.containerd.grpc.v1.cri']
  const since = ['plugins', 'io.containerd.cri.v1.images']
  // containerd 2 reads the old name of this key only beside a table of runtimes (plugins/cri/images migrateConfig).
  const isHeard = fileVersion === 2 && (major < 2 || valueAt(data, [...before, 'containerd', 'runtimes']) !== undefined)
  const snapshotters = isHeard ? [...before, 'containerd'] : since
  const registry = [...fileVersion === 2 ? before : since, 'registry']
  const isBefore21 = major < 2 || (major === 2 && minor < 1)
  const isTransfer = !isBefore21 && valueAt(data, [...since, 'use_local_image_pull']) !== true
  for (const inline of ['mirrors', 'configs']) {
    const value = valueAt(data, [...registry, inline])
    if (typeof value === 'object' && value !== null && Object.keys(value).length > 0) {
      throw new SnapshotterError('CONFIG_INVALID',
        `${[...registry, inline].join('.')} excludes config_path; move it to hosts.toml files below ${wish.hostsDir} first`)
    }
  }
  return [
    ...set(data, wish, snapshotters, 'snapshotter', wish.names[0] ?? '', ['', 'overlayfs']),
    // From 2.1 on CRI pulls through the transfer service, and by itself again when this is false.
    ...isBefore21 ? set(data, wish, snapshotters, 'disable_snapshot_annotations', false, [true]) : [],
    ...isTransfer
      // It takes the list that is containerd's own default for the name of one folder (core/transfer/registry WithHostDir).
      ? set(data, wish, registry, 'config_path', wish.hostsDir, ['', [wish.hostsDir, DOCKER_HOSTS].join(':')])
      : hostsEdits(data, wish, registry, major < 2 ? wish.hostsDir : [...new Set([wish.hostsDir, DOCKER_HOSTS])].join(':'))
  ]
}

function contentEdits (data: Data, wish: ContainerdWish): Edit[] {
  const disabled = data['disabled_plugins']
  const table = ['proxy_plugins', CONTENT_NAME]
  return [
    ...Array.isArray(disabled) && disabled.includes(CONTENT) ? [] : [{ kind: 'include' as const, table: [], key: 'disabled_plugins', item: CONTENT }],
    ...set(data, wish, table, 'type', 'content'),
    ...set(data, wish, table, 'address', wish.address)
  ]
}
