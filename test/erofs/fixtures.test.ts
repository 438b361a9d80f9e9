// The images that other tools made, as the kernel shows them, against what GNU tar and containerd's overlayfs made of
// them: each layer alone, and both stacked, where whiteouts and the opaque directory act.
import { beforeAll, describe, expect, test } from '@jest/globals'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { buildErofs } from '../../src/erofs/build-erofs.ts'
import { resolveImplied } from '../../src/layer/implied.ts'
import type { LayerIndex } from '../../src/layer/layer-index.ts'
import {
  type Images, mountImages, MOUNT_FORMS, type MountForm, native, PREPARE_MS, preparePrograms, UUID, whyNoMounts, withScratch
} from '../suites/erofs-mounts.ts'
import { type OpenedLayer, openFixture } from '../suites/fixture-layers.ts'
import { compareTrees, readTruth, type Tree } from '../suites/tree-compare.ts'
import { dumpTree } from '../suites/tree-dump.ts'

const whyNot = whyNoMounts()
if (whyNot !== null) process.stderr.write(`erofs/fixtures: skipped, ${whyNot}\n`)
const mounting = whyNot === null ? test : test.skip
if (whyNot === null) beforeAll(preparePrograms, PREPARE_MS)

const TRUTH = resolve(import.meta.dirname, '../fixtures/truth')
const IMAGES = ['umoci-gzip.oci.tar', 'docker-archive.tar.gz', 'estargz.oci.tar', 'estargz-64k.oci.tar', 'estargz-inner.oci.tar',
  'soci-v1.oci.tar.gz', 'soci-v2.oci.tar.gz']

function writeForms (scratch: string, name: string, index: LayerIndex, { layout, data }: OpenedLayer): Images {
  const images = { meta: join(scratch, 'ramfs', `${name}.meta`), data: join(scratch, `${name}.data`), one: join(scratch, `${name}.one`) }
  writeFileSync(images.meta, buildErofs(index, layout, { form: 'two-devices', uuid: UUID }))
  writeFileSync(images.data, data)
  writeFileSync(images.one, Buffer.concat([buildErofs(index, layout, { form: 'one-file', uuid: UUID }), data]))
  return images
}

/** GNU tar kept -1.5 s; containerd puts times before 1970 at 0, and we follow containerd. */
function asContainerdShows (truth: Tree): Tree {
  return new Map([...truth].map(([path, entry]) => [path, entry.mtimeNs < 0n ? { ...entry, mtimeNs: 0n } : entry]))
}

/** Both layers mounted in `form` and stacked; the differences of the lower one alone, and of the stack. */
async function differences (image: string, form: MountForm): Promise<Record<'base' | 'merged', string[]>> {
  const [base, over] = await openFixture(image)
  if (base === undefined || over === undefined) throw new Error(`${image} has not two layers`)
  return await withScratch(async (scratch) => {
    const lowers = [join(scratch, 'over'), join(scratch, 'base')]
    await mountImages(writeForms(scratch, 'over-image', resolveImplied(over.index, [base.index]), over), form, join(scratch, 'over'))
    await mountImages(writeForms(scratch, 'base-image', resolveImplied(base.index, []), base), form, join(scratch, 'base'))
    mkdirSync(join(scratch, 'merged'))
    await native('mount-overlay', join(scratch, 'merged'), '--lower', lowers.join(':'))
    const options = { ignoreMtimeOf: ['/'], mtimeInSeconds: base.rounded }
    const alone = await dumpTree(join(scratch, 'base'))
    const stacked = await dumpTree(join(scratch, 'merged'), { sameDirentNumbers: false })
    return {
      base: compareTrees(alone, asContainerdShows(await readTruth(join(TRUTH, 'layer0.json'))), options),
      merged: compareTrees(stacked, await readTruth(join(TRUTH, 'merged.json')), options)
    }
  })
}

describe('a fixture image, mounted layer by layer and stacked, equals its truth', () => {
  for (const image of IMAGES) {
    mounting(`${image}, file-backed`, async () => {
      expect(await differences(image, 'two files')).toEqual({ base: [], merged: [] })
    })
  }

  for (const form of MOUNT_FORMS.slice(1)) {
    mounting(`estargz-64k.oci.tar, ${form}`, async () => {
      expect(await differences('estargz-64k.oci.tar', form)).toEqual({ base: [], merged: [] })
    })
  }
})

mounting('without its upper layer the stack does not equal the truth', async () => {
  const [base] = await openFixture('umoci-gzip.oci.tar')
  if (base === undefined) throw new Error('no layer')
  await withScratch(async (scratch) => {
    await mountImages(writeForms(scratch, 'base-image', base.index, base), 'two files', join(scratch, 'base'))
    const found = compareTrees(await dumpTree(join(scratch, 'base')), await readTruth(join(TRUTH, 'merged.json')), { ignoreMtimeOf: ['/'] })

    expect(found.filter((line) => line.includes('/opt/gone') || line.includes('/opt/opaque/old1')).length).toBeGreaterThan(1)
  })
})
