// The images that faults are played with: a large one whose files are read for the first time in some try each, and small ones
// for tries that pull. Published once, used by every stage.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { publish } from '../e2e/harness.ts'
import { type ProgramImage, programImage, randomFiles } from '../e2e/program-image.ts'
import { FILE_BYTES, filesFor, FIRST_FILE, type Wares } from './stage.ts'

const AT_ONCE = 2
const OTHER_FILES = 2

/** In `folder`, which the caller removes. */
export async function makeWares (folder: string, tries: number): Promise<Wares> {
  const made = async (name: string, files: number): Promise<{ image: ProgramImage, published: Wares['published'] }> => {
    const place = join(folder, name)
    mkdirSync(place, { recursive: true })
    const image = programImage(place, [randomFiles(files, FILE_BYTES, FIRST_FILE)])
    return { image, published: await publish(image.layout, join(place, 'image.car')) }
  }
  const { image, published } = await made('large', filesFor(tries))
  const others: Array<Awaited<ReturnType<typeof made>>> = []
  const names = Array.from({ length: tries }, (_, at) => `other-${at}`)
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let name = names.shift(); name !== undefined; name = names.shift()) others.push(await made(name, OTHER_FILES))
  }))
  return { image, published, others }
}
