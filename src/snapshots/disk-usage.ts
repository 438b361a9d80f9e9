// du(1) for one directory: allocated bytes and inodes, hard links once, other filesystems never entered. Same sums as
// containerd's own snapshotters (continuity fs.DiskUsage): the directory itself counts.
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode } from '../base/errors.ts'
import { DISK_USAGE_CONCURRENCY } from '../base/limits.ts'
import { Semaphore } from '../base/semaphore.ts'
import type { Usage } from './snapshot.ts'

const BLOCK_BYTES = 512 // unit of st_blocks, stat(2)

/** Entries that vanish meanwhile are not counted: an active snapshot is somebody's live root. */
export async function diskUsage (directory: string, signal?: AbortSignal): Promise<Usage> {
  const { dev } = await lstat(directory)
  const slots = new Semaphore(DISK_USAGE_CONCURRENCY)
  const linked = new Set<number>()
  let size = 0
  let inodes = 0

  const visit = async (path: string): Promise<void> => {
    signal?.throwIfAborted()
    const children = await slots.run(async () => {
      const entry = await unlessGone(lstat(path))
      if (entry === null || entry.dev !== dev || (entry.nlink > 1 && !entry.isDirectory() && seen(entry.ino))) return []
      size += entry.blocks * BLOCK_BYTES
      inodes++
      return entry.isDirectory() ? await unlessGone(readdir(path)) ?? [] : []
    })
    // A directory at a time, its entries in small groups: wide trees must not become a million promises.
    for (let at = 0; at < children.length; at += DISK_USAGE_CONCURRENCY) {
      await Promise.all(children.slice(at, at + DISK_USAGE_CONCURRENCY).map((name) => visit(join(path, name))))
    }
  }
  const seen = (inode: number): boolean => linked.has(inode) || linked.add(inode).size === 0

  await visit(directory)
  return { size, inodes }
}

async function unlessGone<Result> (work: Promise<Result>): Promise<Result | null> {
  try {
    return await work
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return null
    throw error
  }
}
