// Our unit under a real systemd, beside Debian's containerd: what a restart, a crash, an upgrade and a stop of it leave alone.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { until } from '../e2e/command.ts'
import { publish, shelf, whyNot } from '../e2e/harness.ts'
import { hashLines, type ProgramImage, programImage, randomFiles } from '../e2e/program-image.ts'
import { PREPARE_MS, preparePrograms } from '../suites/erofs-mounts.ts'
import { SystemdMachine, whyNoSystemd } from '../suites/systemd-machine.ts'

const UNIT = 'ipfs-snapshotter.service'
const BUILD_MS = 300_000
const why = whyNot ?? whyNoSystemd()
if (why !== null) process.stderr.write(`daemon/systemd: skipped, ${why}\n`)
const suite = why === null ? describe : describe.skip

suite('the unit', () => {
  const folder = shelf()
  let image: ProgramImage
  let machine: SystemdMachine
  let name = ''

  beforeAll(async () => {
    await preparePrograms()
    mkdirSync(folder, { recursive: true })
    image = programImage(join(folder, 'image'), [randomFiles(4, 1 << 20)])
    const { reference } = await publish(image.layout, join(folder, 'image.car'))
    mkdirSync(join(folder, 'out'))
    execFileSync('mkfifo', [join(folder, 'out/commands')])
    machine = await SystemdMachine.boot(join(folder, 'machine'), folder, {
      [`etc/systemd/system/${UNIT}`]: readFileSync(resolve(import.meta.dirname, '../../systemd', UNIT), 'utf8'),
      'etc/ipfs-snapshotter/config.toml': [
        '[trust]', 'prove_after = "1h"', '[fetch]', 'background = "off"', '[[source]]', 'type = "car"', `path = "${join(folder, 'image.car')}"`, ''
      ].join('\n')
    })
    await machine.must('ipfs-snapshotter', 'setup', 'containerd', '--write')
    await machine.must('systemctl', 'start', UNIT)
    await machine.must('systemctl', 'restart', 'containerd')
    name = (JSON.parse(await machine.must('ipfs-snapshotter', 'pull', reference, '--json')) as { name: string }).name
    const out = `type=bind,src=${join(folder, 'out')},dst=/out,options=rbind:rw`
    // The cgroups there have no CPU controller where the host has version 1.
    await machine.must('ctr', 'run', '--detach', '--snapshotter', 'ipfs', '--cpu-shares', '0', '--mount', out, name, 'reader', '/bin/e2e', 'obey')
  }, PREPARE_MS + BUILD_MS)
  afterAll(async () => {
    await (machine as SystemdMachine | undefined)?.end()
    rmSync(folder, { recursive: true, force: true })
  }, PREPARE_MS)

  let execs = 0
  const paths = (from: number, to: number): string[] => [...image.hashes.keys()].slice(from, to)
  async function read (...files: readonly string[]): Promise<Record<string, string>> {
    return hashLines(await machine.must('ctr', 'tasks', 'exec', '--exec-id', `read-${execs++}`, 'reader', '/bin/e2e', 'fresh', ...files))
  }
  /** Of the daemon, and what must outlive it. */
  async function seen (): Promise<{ daemon: string, lasting: { guardian: string, worker: string, mounts: string[] } }> {
    const daemon = (await machine.must('systemctl', 'show', '--property', 'MainPID', '--value', UNIT)).trim()
    const mounts = (await machine.must('cat', '/proc/mounts')).split('\n').filter((line) => line.includes('/snapshots/'))
    const pids = async (words: string): Promise<string> => (await machine.run('pgrep', '--full', words)).stdout.trim()
    return { daemon, lasting: { guardian: await pids('native guardian'), worker: await pids('native worker'), mounts } }
  }
  const ready = async (): Promise<void> => {
    await until('the daemon answers', async () => (await machine.run('ipfs-snapshotter', 'status')).code === 0)
  }

  test('a restart, a crash and a stop leave guardian, mounts and the container; serve --stop takes everything down', async () => {
    expect(await read(...paths(0, 2))).toEqual(image.expected(paths(0, 2)))
    const first = await seen()
    expect(first.lasting.mounts.length).toBeGreaterThan(2) // layers, and the container's overlay on them
    expect(first.lasting.guardian).toMatch(/^\d+$/)

    await machine.must('systemctl', 'restart', UNIT)
    await ready()
    const restarted = await seen()
    expect(restarted.daemon).not.toBe(first.daemon)
    expect(restarted.lasting).toEqual(first.lasting)
    expect(await read(...paths(0, 3))).toEqual(image.expected(paths(0, 3))) // the last is fetched by the new daemon

    await machine.must('systemctl', 'kill', '--kill-whom=main', '--signal=SIGKILL', UNIT)
    await until('systemd starts it again', async () => ![restarted.daemon, '0'].includes((await seen()).daemon))
    await ready()
    expect((await seen()).lasting).toEqual(first.lasting)

    await machine.must('systemctl', 'stop', UNIT)
    expect((await machine.run('systemctl', 'is-active', UNIT)).stdout.trim()).toBe('inactive')
    expect((await seen()).lasting).toEqual(first.lasting)
    expect(await read(...paths(0, 3))).toEqual(image.expected(paths(0, 3))) // cached, with no daemon at all

    await machine.must('systemctl', 'start', UNIT)
    await ready()
    expect((await seen()).lasting).toEqual(first.lasting)
    expect(await read(...paths(3, 4))).toEqual(image.expected(paths(3, 4)))

    await machine.must('ctr', 'tasks', 'rm', '--force', 'reader')
    await machine.must('ctr', 'containers', 'rm', 'reader')
    await machine.must('systemctl', 'stop', UNIT)
    await machine.must('ipfs-snapshotter', 'serve', '--stop')
    expect((await seen()).lasting).toEqual({ guardian: '', worker: '', mounts: [] })
  }, PREPARE_MS)
})
