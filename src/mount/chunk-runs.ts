// Arithmetic on runs of chunks.
import type { ChunkRun } from './supply.ts'

/** The parts of `runs` that are in none of `others`. */
export function without (runs: readonly ChunkRun[], others: readonly ChunkRun[]): ChunkRun[] {
  let left = [...runs]
  for (const other of others) left = left.flatMap((run) => cut(run, other))
  return left
}

function cut ({ first, count }: ChunkRun, other: ChunkRun): ChunkRun[] {
  const end = first + count
  const from = Math.min(Math.max(other.first, first), end)
  const to = Math.min(Math.max(other.first + other.count, from), end)
  return [{ first, count: from - first }, { first: to, count: end - to }].filter((part) => part.count > 0)
}

export function overlaps (run: ChunkRun, others: readonly ChunkRun[]): boolean {
  return others.some((other) => other.first < run.first + run.count && run.first < other.first + other.count)
}
