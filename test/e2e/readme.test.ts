// README's "Use it on your node" to the letter: its commands are read out of it and typed into the shell of a machine of its own. Only
// <CID> and <manifest> become what `publish` printed, and containerd is started by hand, since the machine has no systemd.
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { readFileSync, rmSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { isOnPath } from '../peers/tools.ts'
import { type ContainerdBinaries, containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { shelf } from './harness.ts'
import { OwnMachine } from './own-machine.ts'
import { programImage } from './program-image.ts'

const CLONE = resolve(import.meta.dirname, '../..')
const TOOLS = ['ctr', 'nerdctl', 'crictl'] as const
const folder = shelf()
const commands = commandsOf(/^## Use it on your node\n(.*?)^##/ms.exec(readFileSync(join(CLONE, 'README.md'), 'utf8'))?.[1] ?? '')
let machine: OwnMachine | null = null
let layout = ''

beforeAll(async () => {
  await preparePrograms()
  layout = programImage(folder, [{ '/etc/upper': 'from the upper layer\n' }], { command: ['/bin/e2e', 'sha', '/etc/upper'] }).layout
}, PREPARE_MS)
afterEach(async () => { await machine?.end(); machine = null }, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

/** Lines of the blocks of shell, a here-document in one piece. */
function commandsOf (section: string): string[] {
  const blocks = [...section.matchAll(/^```sh\n(.*?)^```$/msg)].map(([, block = '']) => block)
  return blocks.flatMap((block) => block.match(/^.*<< '(\w+)'\n[^]*?^\1$|^.+$/mg) ?? [])
}

function toolOf (command: string): string {
  return command.split(' ')[0] ?? ''
}

async function startContainerd (on: OwnMachine): Promise<void> {
  await on.done('containerd > containerd.log 2>&1 &\ncontainerd=$!')
  await on.until('ctr version > /dev/null 2>&1')
}

/** All commands but those of tools other than `tool`. Answers what each printed. */
async function follow (on: OwnMachine, tool: typeof TOOLS[number]): Promise<Map<string, string>> {
  const printed = new Map<string, string>()
  let [cid, manifest] = ['<CID>', '<manifest>']
  symlinkSync(layout, join(on.folder, 'layout'))
  await startContainerd(on)
  await on.done(`cd ${CLONE}`)
  for (const command of commands.filter((command) => !TOOLS.some((other) => other !== tool && other === toolOf(command)))) {
    const typed = command.replaceAll('<CID>', cid).replaceAll('<manifest>', manifest)
    if (command === 'systemctl restart containerd') {
      await on.done('kill $containerd; wait $containerd || true')
      await startContainerd(on)
    } else printed.set(command, await on.done(typed))
    if (command.startsWith('PATH=')) await on.done(`cd ${on.folder}`)
    if (command.includes(' publish ')) [, cid = '', manifest = ''] = /^ipfs:\/\/(\w+)@sha256:(\w+)\n/.exec(printed.get(command) ?? '') ?? []
    if (command.includes(' gateway ')) await on.until('(exec 3<> /dev/tcp/127.0.0.1/8080) 2> /dev/null')
    if (command.includes(' serve ')) await on.until('ipfs-snapshotter status > /dev/null 2>&1')
    if (command.includes('-snapshotter pull ')) expect(printed.get(command)).toBe(`ipfs:0/${cid}@sha256:${manifest}\n`)
  }
  return printed
}

const versions: ReadonlyArray<ContainerdBinaries | null> = containerdVersions()
for (const binaries of versions.length > 0 ? versions : [null]) {
  for (const tool of TOOLS) {
    const isHere = binaries !== null && (tool === 'ctr' || isOnPath(tool))
    const tried = isHere ? test : test.skip
    tried(`README's commands run on a node (${tool}, containerd ${binaries?.version ?? 'none'})`, async () => {
      machine = await OwnMachine.start(binaries?.directory ?? '')
      const printed = await follow(machine, tool)
      expect([...printed.keys()].filter((command) => toolOf(command) === tool).length).toBeGreaterThan(0)
      const { bytesServed, bytesServedUnverified } = JSON.parse(await machine.done('ipfs-snapshotter status --json')) as Record<string, number>
      if (tool !== 'crictl') expect(bytesServed).toBeGreaterThan(0)
      expect(bytesServedUnverified).toBe(0)
      await machine.done('ipfs-snapshotter serve --stop')
      expect(await machine.done('mount')).not.toMatch(/ on \/(?:run|var\/lib)\/ipfs-snapshotter\//)
    }, PREPARE_MS)
  }
}
