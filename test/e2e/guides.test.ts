// docs/PUBLISHING.md and docs/DEPLOY.md to the letter: every command of theirs is typed, in order, into the shell of a machine of its own
// where the names of the guides (https://gateway.example, …) lead to servers of that machine.
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { commandsOf, isUntyped, ROOT, shellOf } from '../docs/blocks.ts'
import { isOnPath } from '../peers/tools.ts'
import { containerdVersions } from '../suites/containerd.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { shelf } from './harness.ts'
import { OwnMachine } from './own-machine.ts'
import { programImage } from './program-image.ts'
import { Typist } from './typist.ts'

const NAMES = ['gateway.example', 'other-gateway.example', 'pins.first.example', 'pins.second.example']
const TOKENS = { first: 'first-secret', second: 'second-secret', gateway: 'any' }
const folder = shelf()
const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
const [binaries] = containerdVersions()
const onNode = binaries === undefined ? test.skip : test
let machine: OwnMachine | null = null
let layout = ''

beforeAll(async () => {
  await preparePrograms()
  layout = programImage(folder, [{ '/etc/upper': 'from the upper layer\n' }], { command: ['/bin/e2e', 'sha', '/etc/upper'] }).layout
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=guides',
    '-addext', `subjectAltName=${NAMES.map((name) => `DNS:${name}`).join(',')}`, '-keyout', key, '-out', certificate], { stdio: 'pipe' })
}, PREPARE_MS)
afterEach(async () => { await machine?.end(); machine = null }, PREPARE_MS)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

/** A machine with `./layout`, our command on PATH, tokens, and a way to the names of the guides. */
async function ready (): Promise<{ readonly on: OwnMachine, readonly typist: Typist }> {
  const on = await OwnMachine.start(binaries?.directory ?? '')
  machine = on
  symlinkSync(layout, join(on.folder, 'layout'))
  const typist = new Typist(on)
  await typist.setPath('PATH=$PWD/scripts:$PATH')
  await on.done(`echo '127.0.0.1 localhost ${NAMES.join(' ')}' >> /etc/hosts; mkdir -p /etc/ipfs-snapshotter; umask 077`)
  for (const [name, token] of Object.entries(TOKENS)) await on.done(`echo '${token}' > /etc/ipfs-snapshotter/${name}.token`)
  await on.done(`export NODE_EXTRA_CA_CERTS=${certificate}; umask 022`)
  await on.done(`sh ${ROOT}/scripts/with-node test/e2e/outside-world.ts ${key} ${certificate} > outside.log 2>&1 &`)
  await on.until('(exec 3<> /dev/tcp/127.0.0.1/443) 2> /dev/null')
  return { on, typist }
}

/** Types the page; what each command printed. */
async function follow (page: string, typist: Typist, isSkipped = (_: string): boolean => false): Promise<Map<string, string>> {
  const printed = new Map<string, string>()
  const commands = shellOf(page).filter((block) => !isUntyped(block)).flatMap(commandsOf).filter((command) => !isSkipped(command))
  for (const command of commands) printed.set(command, await typist.type(command))
  return printed
}

test('everything that docs/PUBLISHING.md says works on a machine', async () => {
  const { on, typist } = await ready()
  const printed = await follow('docs/PUBLISHING.md', typist)

  expect(printed.get('ipfs-snapshotter pin ls')).toMatch(new RegExp(`^first\t${typist.cid}\tpinned\t[^]*^second\t${typist.cid}\tpinned\t`, 'm'))
  const left = await on.done('ipfs-snapshotter pin ls')
  expect([left.includes(`first\t${typist.cid}`), left.includes(`second\t${typist.cid}`)]).toEqual([true, false])
  expect(await on.done('ls /var/lib/ipfs-snapshotter/blocks/pins')).toContain(typist.cid)
  await on.done('ipfs-snapshotter serve --stop')
}, PREPARE_MS)

onNode('everything that docs/DEPLOY.md says works on a node', async () => {
  const { on, typist } = await ready()
  for (const command of ['ipfs-snapshotter publish ./layout --car image.car', 'ipfs-snapshotter gateway --car image.car --listen 127.0.0.1:8080 &']) {
    await typist.type(command)
  }
  await typist.startContainerd()
  const printed = await follow('docs/DEPLOY.md', typist, (command) => command.startsWith('nerdctl') && !isOnPath('nerdctl'))

  expect(printed.get('ipfs-snapshotter doctor')).toMatch(/^ok {3}sources: 2 configured, all answer: /m)
  expect(printed.get('ipfs-snapshotter pull ipfs://<CID>@sha256:<manifest>')).toBe(`ipfs:0/${typist.cid}@sha256:${typist.manifest}\n`)
  expect([...printed.values()].join('')).toMatch(/, 0 bytes served unverified/)
  await on.done('ipfs-snapshotter serve --stop')
  expect(await on.done('mount')).not.toMatch(/ on \/(?:run|var\/lib)\/ipfs-snapshotter\//)
}, PREPARE_MS)
