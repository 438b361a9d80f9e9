// Which mounts make a snapshot visible. Shapes that every containerd client knows (plugins/snapshots/overlay): bind
// for one directory, overlay with separate option strings for several, nearest parent first.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Kind, Mount } from './snapshot.ts'

/** Paths of one snapshot: its own directories and its parents' `fs`, nearest first. */
export interface MountPaths {
  readonly kind: Kind
  readonly upper: string
  readonly work: string
  readonly parents: readonly string[]
  /** Options that shift the ids of what lies in `parents`. */
  readonly shift?: readonly string[]
}

export function mountsOf ({ kind, upper, work, parents, shift = [] }: MountPaths, overlayOptions: readonly string[]): Mount[] {
  const isView = kind !== 'active'
  const [nearest, ...others] = parents
  if (nearest === undefined) return [bind(upper, isView ? 'ro' : 'rw')]
  if (isView && others.length === 0) return [bind(nearest, 'ro', shift)]
  return [{
    type: 'overlay',
    source: 'overlay',
    options: [...isView ? [] : [`workdir=${work}`, `upperdir=${upper}`], `lowerdir=${parents.join(':')}`, ...overlayOptions, ...shift]
  }]
}

function bind (source: string, access: 'ro' | 'rw', shift: readonly string[] = []): Mount {
  return { type: 'bind', source, options: [access, 'rbind', ...shift] }
}

/**
 * Options that this kernel needs on every overlay: `userxattr` inside a user namespace, where trusted.* is out of
 * reach; `index=off` where the kernel knows it, because an index forbids to share a lower directory.
 */
export async function detectOverlayOptions (): Promise<string[]> {
  const options: string[] = []
  if (await inUserNamespace()) options.push('userxattr')
  if (existsSync('/sys/module/overlay/parameters/index')) options.push('index=off')
  return options
}

/** user_namespaces(7): only the initial namespace maps all ids to themselves. */
async function inUserNamespace (): Promise<boolean> {
  const map = await readFile('/proc/self/uid_map', 'utf8').catch(() => '')
  return map !== '' && !/^\s*0\s+0\s+4294967295\s*$/.test(map)
}
