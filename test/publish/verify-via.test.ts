// `publish --verify-via` as a person runs it: the result on stdout, and one line more when an image would not start.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { command } from '../e2e/command.ts'
import { CarBlocks, type Knobs, startFakeGateway } from '../fakes/gateway.ts'
import { startTarget } from '../fakes/kubo-target.ts'
import { startPinningMock } from '../fakes/pinning-service.ts'
import { images, inFolder, namesIn, publishTo } from './published.ts'

interface Printed {
  readonly reference: string
  readonly cid: string
  readonly pins: ReadonlyArray<{ readonly status: string }>
  readonly verifyVia: ReadonlyArray<{ readonly starts: boolean }>
}

const image = join(images, 'umoci-gzip.oci.tar')

interface Served { readonly folder: string, readonly cid: string, /** Blocks. */ readonly count: number }

/** Arguments that publish what gateways serve already, one for each of `knobs`. */
async function withGateways (
  knobs: ReadonlyArray<Partial<Knobs>>, work: (publish: string[], urls: string[], served: Served) => Promise<void>
): Promise<void> {
  await inFolder(async (folder) => {
    const { cid } = await publishTo(join(folder, 'served.car'), image)
    const blocks = await CarBlocks.load(join(folder, 'served.car'))
    const gateways = await Promise.all(knobs.map(async (one) => await startFakeGateway(blocks, one)))
    try {
      const publish = ['publish', image, '--car', join(folder, 'x.car'), '--chunker', 'size-1048576']
      await work(publish, gateways.map(({ url }) => url), { folder, cid, count: blocks.blocks.size })
    } finally {
      await Promise.all(gateways.map(async ({ close }) => { await close() }))
    }
  })
}

test('says per gateway what was found, and fails with one line when the image would not start from one', async () => {
  const onlyNodes: Knobs['status'] = ({ cid }) => cid.startsWith('bafkrei') ? { status: 404 } : null
  await withGateways([{}, { status: onlyNodes }], async (publish, [good = '', bad = ''], { folder, cid, count }) => {
    const args = [...publish, '--json', '--verify-via', good]
    const fine = await command([...args, '--verify-all'])
    expect(fine.code).toBe(0)
    expect((JSON.parse(fine.stdout) as Printed).verifyVia).toEqual([
      { gateway: good, starts: true, blocks: count, found: count, ms: expect.any(Number), missing: [] }
    ])

    const failed = await command([...args, '--verify-via', bad, '--verify-timeout', '1s'])
    const printed = JSON.parse(failed.stdout) as Printed
    expect(failed.code).toBe(1)
    expect(printed.cid).toBe(cid)
    expect(printed.verifyVia.map(({ starts }) => starts)).toEqual([true, false])
    const lines = failed.stderr.trim().split('\n').filter((line) => !line.startsWith('{'))
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatch(new RegExp(
      `^ROOT_NOT_FOUND: ${printed.reference} would not start from ${bad}: 3 of ${count} blocks after \\d+ ms, not \\S+.* \\(block bafkrei.*404.*\\); ` +
      `look again with \`ipfs-snapshotter verify ${printed.reference} --gateway ${bad}\`$`))
    expect(await namesIn(folder)).toEqual(['served.car', 'x.car']) // what was published stays
  })
})

test('a person reads a line for each gateway', async () => {
  await withGateways([{}], async (publish, [good = ''], { count }) => {
    const { code, stdout } = await command([...publish, '--verify-via', good])

    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`\n {2}from {6}${good}: starts, ${count} blocks in \\d+ ms\n$`))
  })
})

test('a service that says pinned and has half of it is found out through its gateway', async () => {
  const service = await startPinningMock('right')
  const target = await startTarget({ addresses: [] })
  try {
    await withGateways([{}, { status: ({ path, cid }) => path.includes('format=raw') && cid.startsWith('bafkrei') ? { status: 404 } : null }],
      async (publish, [good = '', half = ''], { folder, cid }) => {
        const config = join(folder, 'config.toml')
        await writeFile(join(folder, 'token'), 'right', { mode: 0o600 })
        await writeFile(config, `[[pinning]]\nname = "alpha"\nendpoint = "${service.url}"\ntoken_file = "${join(folder, 'token')}"\n`)
        const lying = await command([...publish, '--json', '--pin', 'alpha', '--config', config, '--verify-via', half, '--verify-timeout', '1s'])
        const { pins, verifyVia } = JSON.parse(lying.stdout) as Printed
        expect(lying.code).toBe(1)
        expect(pins.map((pin) => pin.status)).toEqual(['pinned', 'pinned'])
        expect(verifyVia.map(({ starts }) => starts)).toEqual([false])
        expect(lying.stderr.trim().split('\n').at(-1)).toMatch(/^ROOT_NOT_FOUND: \S+ would not start from /)

        // Without --car the CAR is looked into before it goes.
        const to = publish.filter((_, at) => at !== 2 && at !== 3)
        const sent = await command([...to, '--json', '--to', target.url, '--config', config, '--verify-via', good])
        expect(sent.code).toBe(0)
        expect(JSON.parse(sent.stdout)).toMatchObject({ cid, car: null, verifyVia: [{ starts: true }] })
      })
  } finally {
    await target.close()
    await service.close()
  }
})

test('what the config file says of a gateway counts here, too: its token for one', async () => {
  const status: Knobs['status'] = ({ headers }) => headers.authorization === 'Bearer secret' ? null : { status: 401 }
  await withGateways([{ status }], async (publish, [gateway = ''], { folder }) => {
    await writeFile(join(folder, 'token'), 'secret\n', { mode: 0o600 })
    await writeFile(join(folder, 'config.toml'), `[[source]]\ntype = "gateway"\nurl = "${gateway}"\ntoken_file = "${join(folder, 'token')}"\n`)
    const args = [...publish, '--json', '--verify-via', gateway]
    const known = await command([...args, '--config', join(folder, 'config.toml')])
    await writeFile(join(folder, 'empty.toml'), '')
    const unknown = await command([...args, '--config', join(folder, 'empty.toml')])

    expect([known.code, unknown.code]).toEqual([0, 1])
    expect(unknown.stderr.trim().split('\n').at(-1)).toMatch(/^GATEWAY_REFUSED: .*401/)
  })
})

test.each([
  [['--verify-all'], 2, /^error: --verify-all .*--verify-via/],
  [['--verify-via', 'http://127.0.0.1:1', '--verify-timeout', 'soon'], 2, /^error: /],
  [['--verify-via', 'gateway.example'], 1, /^CONFIG_INVALID: --verify-via "gateway\.example" is no http\(s\) URL\n$/],
  [['--verify-via', 'https://me:secret@gateway.example'], 1, /^CONFIG_INVALID: (?!.*secret).*credentials/]
])('%j is refused before anything is written', async (flags, code, text) => inFolder(async (folder) => {
  const refused = await command(['publish', image, '--car', join(folder, 'x.car'), ...flags])

  expect([refused.code, refused.stdout]).toEqual([code, ''])
  expect(refused.stderr).toMatch(text)
  expect(await namesIn(folder)).toEqual([])
}))
