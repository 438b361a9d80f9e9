// A pull of an image that this node has not seen. Whatever it was killed in, the next pull makes the image whole: its files
// are hashed on its own mount.
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { execute, until } from '../e2e/command.ts'
import { hashLines } from '../e2e/program-image.ts'
import type { Calls } from './snapshot-calls.ts'
import { untilAnswered } from './snapshot-calls.ts'
import type { Stage } from './stage.ts'

const PULLS_MAX = 10

export async function pulling (stage: Stage, attempt: number, random: () => number): Promise<Calls> {
  const { scene, gateway, wares: { others } } = stage
  const other = others[attempt % others.length]
  if (other === undefined) throw new Error('no image to pull')
  const { reference } = other.published
  let ended = false
  const asked = gateway.gateway.requests.length
  const first = scene.tryPull(reference).finally(() => { ended = true })
  await until('the pull asks the gateway', () => ended || gateway.gateway.requests.length > asked)
  await sleep(random() * 120)
  return {
    open: () => !ended,
    finish: async () => {
      let outcome = await first
      let repeated = 0
      for (; outcome.code !== 0 && repeated < PULLS_MAX; repeated++) outcome = await scene.tryPull(reference)
      if (outcome.code !== 0) return { repeated, lost: [`the pull of ${reference} failed ${PULLS_MAX} times: ${outcome.stderr}`] }
      const { name, layers } = await scene.pull(reference)
      const expected = other.image.expected([...other.image.hashes.keys()])
      const got = await scene.withMounted(layers.at(-1)?.chainId ?? '', async (directory) =>
        await hashes(other.image.program, directory, Object.keys(expected)))
      await untilAnswered(async () => { await scene.removeImage(name) })
      const wrong = Object.entries(expected).filter(([path, hash]) => got[path] !== hash)
      return { repeated, lost: wrong.map(([path]) => `${path} of the pulled image is ${got[path] ?? 'not there'}`) }
    }
  }
}

async function hashes (program: string, directory: string, paths: readonly string[]): Promise<Record<string, string>> {
  const { stdout, stderr } = await execute(program, ['fresh', ...paths.map((path) => join(directory, path))])
  return hashLines((stdout + stderr).replaceAll(directory, ''))
}
