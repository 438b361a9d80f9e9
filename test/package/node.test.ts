// The package over a node's life, which takes minutes: on the next Debian, through an upgrade under a real systemd, and on Debian's
// own kernel in QEMU. `npm run test:package` runs it.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../e2e/command.ts'
import { publish, shelf } from '../e2e/harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from '../e2e/program-image.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { SystemdMachine, whyNoSystemd } from '../suites/systemd-machine.ts'
import { buildPackage, type BuiltPackage, whyNoPackage } from './built-package.ts'
import { FreshRoot, whyNoFreshRoot } from './fresh-root.ts'
import { bootGuest, whyNoGuest } from './guest.ts'
import { FILE, GATEWAY, provide, PUBLISH, RUN, SERVE } from './node-life.ts'

const UNIT = 'ipfs-snapshotter.service'
const NEXT = '99.0.0'
const GUEST_MS = 1_800_000
const asked = process.env['IPFS_SNAPSHOTTER_TEST_PACKAGE'] === '1' ? null : 'npm run test:package runs it'
const why = asked ?? whyNoPackage() ?? whyNoFreshRoot()
if (why !== null) process.stderr.write(`package/node: skipped, ${why}\n`)
const suite = why === null ? describe : describe.skip
const whyNot = { upgrade: why ?? whyNoSystemd(), guest: why ?? whyNoGuest() }
for (const [what, reason] of Object.entries(whyNot)) {
  if (why === null && reason !== null) process.stderr.write(`package/node: the ${what} skipped, ${reason}\n`)
}
const underSystemd = whyNot.upgrade === null ? test : test.skip
const inGuest = whyNot.guest === null ? test : test.skip

suite('the package on a node', () => {
  const folder = shelf()
  const share = join(folder, 'share')
  let built: BuiltPackage
  let image: ProgramImage

  beforeAll(async () => {
    await preparePrograms()
    built = await buildPackage(join(folder, 'built'))
    image = provide(share, join(folder, 'image'), built.deb)
  }, PREPARE_MS)
  afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

  test('Debian 13 installs it without a network, publishes, pulls and runs, and loses it again', async () => {
    const machine = await FreshRoot.make(join(folder, 'trixie'), share, ['containerd', 'runc'], 'trixie')
    try {
      const { code, stdout, stderr } = await machine.run(`
        echo "debian $(cut -d . -f 1 /etc/debian_version)"
        dpkg --install /mnt/package.deb >/dev/null
        ${PUBLISH} ${GATEWAY}
        ${SERVE} ${RUN}
        dpkg --purge ipfs-snapshotter >/dev/null
        echo "left $(find / -xdev -path /mnt -prune -o -path /var/lib/dpkg -prune -o -path /proc -prune -o -name '*ipfs-snapshotter*' -print)"`)
      expect({ code, stderr, stdout }).toMatchObject({ code: 0, stderr: '' })
      expect(stdout.split('\n')).toEqual(expect.arrayContaining(['debian 13', `ran ${image.hashes.get(FILE) ?? ''} ${FILE}`, 'left ']))
    } finally {
      machine.remove()
    }
  }, PREPARE_MS)

  underSystemd('an upgrade restarts the daemon and keeps guardian, mounts and the container; a purge leaves nothing', async () => {
    const next = await buildPackage(join(folder, 'next'), undefined, [NEXT])
    const reader = programImage(join(folder, 'reader'), [randomFiles(4, 1 << 20)])
    const paths = [...reader.hashes.keys()]
    const { reference } = await publish(reader.layout, join(folder, 'reader.car'))
    mkdirSync(join(folder, 'out'))
    execFileSync('mkfifo', [join(folder, 'out/commands')])
    const machine = await SystemdMachine.boot(join(folder, 'machine'), folder, {
      'etc/ipfs-snapshotter/config.toml': [
        '[trust]', 'prove_after = "1h"', '[fetch]', 'background = "off"', '[[source]]', 'type = "car"', `path = "${join(folder, 'reader.car')}"`, ''
      ].join('\n')
    })
    try {
      await machine.must('rm', '/usr/bin/ipfs-snapshotter') // the clone's
      const install = async (deb: string): Promise<void> => { await machine.must('dpkg', '--force-confold', '--install', deb) }
      await install(built.deb)
      expect((await machine.must('systemctl', 'is-enabled', UNIT)).trim()).toBe('enabled')
      expect((await machine.must('systemctl', 'is-active', UNIT)).trim()).toBe('active')
      await machine.must('ipfs-snapshotter', 'setup', 'containerd', '--write')
      await machine.must('systemctl', 'restart', 'containerd')
      const { name } = JSON.parse(await machine.must('ipfs-snapshotter', 'pull', reference, '--json')) as { name: string }
      const out = `type=bind,src=${join(folder, 'out')},dst=/out,options=rbind:rw`
      await machine.must('ctr', 'run', '--detach', '--snapshotter', 'ipfs', '--cpu-shares', '0', '--mount', out, name, 'reader', '/bin/e2e', 'obey')
      let execs = 0
      const reads = async (...files: string[]): Promise<Record<string, string>> =>
        hashLines(await machine.must('ctr', 'tasks', 'exec', '--exec-id', `read-${execs++}`, 'reader', '/bin/e2e', 'fresh', ...files))
      const lasting = async () => ({
        guardian: (await machine.run('pgrep', '--full', 'native guardian')).stdout.trim(),
        worker: (await machine.run('pgrep', '--full', 'native worker')).stdout.trim(),
        mounts: (await machine.must('cat', '/proc/mounts')).split('\n').filter((line) => line.includes('/snapshots/'))
      })
      const daemon = async (): Promise<string> => (await machine.must('systemctl', 'show', '--property', 'MainPID', '--value', UNIT)).trim()
      const [before, first] = [await lasting(), await daemon()]
      expect(before.mounts.length).toBeGreaterThan(2)
      expect(await machine.must('readlink', `/proc/${first}/ns/mnt`)).toBe(await machine.must('readlink', '/proc/1/ns/mnt'))
      expect(await reads(...paths.slice(0, 2))).toEqual(reader.expected(paths.slice(0, 2)))

      await install(next.deb)
      expect((await machine.must('ipfs-snapshotter', '--version')).trim()).toBe(NEXT)
      await until('the next daemon answers', async () => (await machine.run('ipfs-snapshotter', 'status')).code === 0)
      expect(await daemon()).not.toBe(first)
      expect(await lasting()).toEqual(before)
      expect(await reads(...paths)).toEqual(reader.expected(paths)) // half of them through the next daemon

      await machine.must('ctr', 'tasks', 'rm', '--force', 'reader')
      await machine.must('ctr', 'containers', 'rm', 'reader')
      await machine.must('dpkg', '--purge', 'ipfs-snapshotter')
      expect(await lasting()).toEqual({ guardian: '', worker: '', mounts: [] })
      for (const place of ['/etc', '/var/lib', '/var/cache', '/run', '/usr/lib']) {
        expect((await machine.run('ls', '-d', `${place}/ipfs-snapshotter`)).stdout).toBe('')
      }
      expect((await machine.must('find', '/etc/systemd', '/var/lib/systemd', '-name', '*ipfs-snapshotter*')).trim()).toBe('')
    } finally {
      await machine.end()
    }
  }, 2 * PREPARE_MS)

  inGuest("Debian's own kernel boots it, systemctl stops and starts it, and a pull and a container work", async () => {
    const started = Date.now()
    const said = await bootGuest(join(folder, 'guest'), share, `
      echo "kernel $(uname -r)"
      echo "at boot $(systemctl is-active ${UNIT})"
      ${PUBLISH} ${GATEWAY}
      systemctl stop ${UNIT}
      echo "stopped $(systemctl is-active ${UNIT})"
      systemctl start ${UNIT}
      echo "started $(systemctl is-active ${UNIT})"
      ipfs-snapshotter setup containerd --write >/dev/null
      systemctl restart containerd
      ipfs-snapshotter doctor
      ${RUN}
      echo "failed units $(systemctl list-units --failed --no-legend --plain | wc -l)"`)
    const lines = said.split(/\r?\n/)
    expect(lines.filter((line) => /^(at boot|stopped|started|ran|failed units) /.test(line))).toEqual([
      'at boot active', 'stopped inactive', 'started active', `ran ${image.hashes.get(FILE) ?? ''} ${FILE}`, 'failed units 0'
    ])
    expect(said).toMatch(/^ok +daemon: answers, driver erofs/m)
    const seconds = Math.round((Date.now() - started) / 1000)
    process.stderr.write(`package/node: a guest with ${lines.find((line) => line.startsWith('kernel ')) ?? ''} in ${seconds} s\n`)
  }, GUEST_MS)
})
