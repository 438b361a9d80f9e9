// Keeps the few small inputs of a run that together reach what all of it reached, beside those that stay for ever (found-*).
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TargetReport } from './campaign.ts'
import { Coverage } from './coverage.ts'
import { nameOf } from './fuzzer.ts'
import { FIXTURES, judge } from './target.ts'
import { TARGETS } from './targets.ts'

const INPUT_BYTES_MAX = 4 * 1024
const FOLDER_BYTES_MAX = 8 * 1024

export async function keep ({ target: name, pool }: TargetReport): Promise<void> {
  const target = await TARGETS[name]?.()
  if (target === undefined) return
  const coverage = new Coverage('/src/')
  for (const seed of target.seeds) await judge(target, Buffer.from(seed))
  coverage.take(false)
  const folder = join(FIXTURES, 'fuzz', name)
  mkdirSync(folder, { recursive: true })
  for (const file of readdirSync(folder)) if (!file.startsWith('found-')) rmSync(join(folder, file))
  let total = 0
  for (const input of pool.map((hex) => Buffer.from(hex, 'hex')).sort((a, b) => a.byteLength - b.byteLength)) {
    if (input.byteLength > INPUT_BYTES_MAX || total + input.byteLength > FOLDER_BYTES_MAX) break
    await judge(target, Buffer.from(input))
    if (!coverage.take(false)) continue
    writeFileSync(join(folder, nameOf(input)), input)
    total += input.byteLength
  }
  await target.end?.()
}
