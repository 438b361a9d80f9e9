// The command as a person runs it: what goes to stdout and stderr and exit codes.
import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { images, inFolder, jsonOf, namesIn } from './published.ts'

interface Outcome { readonly code: number | null, readonly stdout: string, readonly stderr: string }

const command = join(import.meta.dirname, '../../scripts/ipfs-snapshotter')
const image = join(images, 'umoci-gzip.oci.tar')

test('--json prints one object on stdout and one JSON line per event on stderr', async () => inFolder(async (folder) => {
  const { code, stdout, stderr } = await run(['publish', image, '--car', join(folder, 'x.car'), '--json'])

  expect(code).toBe(0)
  expect(jsonOf(Buffer.from(stdout))).toMatchObject({ platform: 'linux/amd64', car: join(folder, 'x.car'), pins: [] })
  const events = stderr.trim().split('\n').map((line) => jsonOf(Buffer.from(line)))
  expect(events[0]).toMatchObject({ event: 'note' })
  const items = Map.groupBy(events.slice(1), ({ item }) => item) // one is proven while the next is converted
  expect([...items.values()].map((of) => of.map(({ event, phase }) => phase ?? event)))
    .toEqual([['read', 'convert', 'prove', 'end'], ['read', 'convert', 'prove', 'end'], ['save', 'end']])
  expect(await namesIn(folder)).toEqual(['x.car'])
}))

test('without --json a person reads the reference first', async () => inFolder(async (folder) => {
  const { code, stdout } = await run(['publish', image, '--format', 'keep', '--car', join(folder, 'x.car')])

  expect(code).toBe(0)
  expect(stdout).toMatch(/^ipfs:\/\/bafybeigck25ibei7xn34xak65qzzxeexska52czpfxn4hyoxtcdagwuoem@sha256:b90eb51f[0-9a-f]{56}\n/)
  expect(stdout).toContain('linux/amd64')
}))

test('takes the prefetch list from a file', async () => inFolder(async (folder) => {
  await writeFile(join(folder, 'list'), '# first\n/srv/with space\n\n./usr//bin/suid\r\n/srv/with space\n')
  const { stdout } = await run(['publish', image, '--car', join(folder, 'a.car'), '--json', '--prefetch-list', join(folder, 'list')])
  const { stdout: plain } = await run(['publish', image, '--car', join(folder, 'b.car'), '--json'])

  expect(jsonOf(Buffer.from(stdout))['cid']).not.toBe(jsonOf(Buffer.from(plain))['cid'])
  expect(await run(['publish', image, '--car', join(folder, 'c.car'), '--prefetch-list', join(folder, 'none')])).toMatchObject({
    code: 1, stdout: '', stderr: `NOT_FOUND: prefetch list ${join(folder, 'none')} cannot be read\n`
  })
}))

test('fails with one plain line and exit code 1', async () => inFolder(async (folder) => {
  expect(await run(['publish', join(folder, 'gone'), '--car', join(folder, 'x.car'), '--json'])).toEqual({
    code: 1, stdout: '', stderr: `NOT_FOUND: ${join(folder, 'gone')}: no such file or directory\n`
  })
}))

test.each([
  [['publish', image]],
  [['publish', '--car', 'x.car']],
  [['publish', image, '--car', 'x.car', '--format', 'zip']],
  [['publish', image, '--car', 'x.car', '--chunk-size', '1KiB']],
  [['publish', image, '--car', 'x.car', '--chunk-size', 'much']],
  [['publish', image, '--car', 'x.car', '--chunker', 'size-1000']]
])('usage: %j ends with exit code 2', async (args) => {
  const { code, stdout, stderr } = await run(args)

  expect([code, stdout]).toEqual([2, ''])
  expect(stderr).toMatch(/^error: /)
})

async function run (args: readonly string[]): Promise<Outcome> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (piece: Buffer) => { stdout += piece.toString() })
  child.stderr.on('data', (piece: Buffer) => { stderr += piece.toString() })
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  return { code, stdout, stderr }
}
