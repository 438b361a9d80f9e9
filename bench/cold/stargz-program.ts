// The peer's program (bench/stargz, around its own library), built once for each state of its sources.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { run } from '../demo/run.ts'
import { once } from '../images/image-store.ts'
import type { BenchContext } from '../part.ts'
import { onPath } from '../service.ts'

const SOURCES = resolve(import.meta.dirname, '..', 'stargz')
const BUILD_MS_MAX = 1_800_000

/** Why there is none; null when it is built. */
export async function buildStargz (context: BenchContext): Promise<string | null> {
  if (!onPath('go')) return 'no go on PATH to build it with'
  try {
    await once(folderOf(context), async (building) => {
      context.say('building stargz-snapshotter from its Go module')
      await run('go', ['build', '-trimpath', '-o', join(building, 'stargz-peer'), '.'], { cwd: SOURCES, timeoutMs: BUILD_MS_MAX, signal: context.signal })
    })
    return null
  } catch (error) {
    return `could not be built: ${(error as Error).message.slice(0, 300)}`
  }
}

export function stargzProgram (context: BenchContext): string {
  return join(folderOf(context), 'stargz-peer')
}

function folderOf ({ cache }: BenchContext): string {
  const sources = createHash('sha256')
  for (const name of readdirSync(SOURCES).sort()) sources.update(readFileSync(join(SOURCES, name)))
  return join(cache, 'peers', `stargz-${sources.digest('hex').slice(0, 16)}`)
}
