// README's "Use it on your node" to the letter: its commands are read out of it and typed into the shell of a machine of its own.
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { commandsOf, shellOf } from '../docs/blocks.ts'
import { isOnPath } from '../peers/tools.ts'
import { type ContainerdBinaries, containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { shelf } from './harness.ts'
import { OwnMachine } from './own-machine.ts'
import { programImage } from './program-image.ts'
import { Typist } from './typist.ts'

const TOOLS = ['ctr', 'nerdctl', 'crictl'] as const
const folder = shelf()
const commands = shellOf('README.md', 'Use it on your node').flatMap(commandsOf)
let machine: OwnMachine | null = null
let layout = ''

beforeAll(async () => {
  await preparePrograms()
  layout = programImage(folder, [{ '/etc/upper': 'from the upper layer\n' }], { command: ['/bin/e2e', 'sha', '/etc/upper'] }).layout
}, PREPARE_MS)
afterEach(async () => { await machine?.end(); machine = null }, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

function toolOf (command: string): string {
  return command.split(' ')[0] ?? ''
}

/** All commands but those of tools other than `tool`. Answers what each printed. */
async function follow (on: OwnMachine, tool: typeof TOOLS[number]): Promise<Map<string, string>> {
  const printed = new Map<string, string>()
  const typist = new Typist(on)
  symlinkSync(layout, join(on.folder, 'layout'))
  await typist.startContainerd()
  for (const command of commands.filter((command) => !TOOLS.some((other) => other !== tool && other === toolOf(command)))) {
    if (command.startsWith('PATH=')) await typist.setPath(command)
    else printed.set(command, await typist.type(command))
    if (command.includes('-snapshotter pull ')) expect(printed.get(command)).toBe(`ipfs:0/${typist.cid}@sha256:${typist.manifest}\n`)
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
