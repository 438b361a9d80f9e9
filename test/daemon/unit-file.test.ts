// The systemd unit: what keeps mounts and running containers over a stop, a restart and an upgrade of the daemon.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { expect, test } from '@jest/globals'
import { isOnPath } from '../peers/tools.ts'

const root = resolve(import.meta.dirname, '../..')
const NAME = 'ipfs-snapshotter.service'
const unit = readFileSync(join(root, 'systemd', NAME), 'utf8')
const settings = new Map([...unit.matchAll(/^(\w+)=(.*)$/gm)].map(([, key = '', value = '']) => [key, value]))

test('a stop reaches the daemon alone: guardian, worker and runtime folder stay for the next start', () => {
  expect(settings.get('KillMode')).toBe('process')
  expect(settings.get('RuntimeDirectoryPreserve')).toBe('yes')
  expect([...settings.keys()]).not.toContain('ExecStop')
})

// Each of these gives the unit a mount namespace of its own (systemd.exec(5)), where containerd would not see our mounts.
test('mounts are made where containerd sees them', () => {
  for (const key of ['PrivateTmp', 'PrivateMounts', 'PrivateDevices', 'ProtectSystem', 'ProtectHome', 'ProtectKernelTunables', 'ProtectKernelModules',
    'ProtectControlGroups', 'ReadOnlyPaths', 'ReadWritePaths', 'InaccessiblePaths', 'TemporaryFileSystem', 'BindPaths', 'MountFlags', 'DynamicUser']) {
    expect([key, settings.get(key) ?? 'no']).toEqual([key, 'no'])
  }
})

test('containerd starts after it', () => {
  expect(settings.get('Before')?.split(' ')).toContain('containerd.service')
})

/** Of 10, as `systemd-analyze security` counts: systemd 252 says 5.0, MEDIUM. A unit that says nothing has 9.6. */
const EXPOSURE_MAX = 5.2

const analyze = isOnPath('systemd-analyze') ? test : test.skip
if (!isOnPath('systemd-analyze')) process.stderr.write('daemon/unit-file: verification skipped, systemd-analyze is not on PATH\n')

analyze('systemd knows every key and finds nothing to complain of, as it does with a misspelt one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'unit-file-'))
  try {
    const path = join(folder, NAME)
    const verify = (text: string): string => {
      writeFileSync(path, text.replace('/usr/bin/ipfs-snapshotter', join(root, 'scripts', 'ipfs-snapshotter')))
      const { stdout, stderr, status } = spawnSync('systemd-analyze', ['verify', path], { encoding: 'utf8' })
      return `${stdout}${stderr.split('\n').filter((line) => line.includes(NAME)).join('\n')}${status === 0 ? '' : ` exit ${status ?? 'by a signal'}`}`
    }
    expect(verify(unit)).toBe('')
    expect(verify(unit.replace('\nKillMode', '\nKilMode'))).toMatch(/KilMode/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

analyze('what the daemon does not need is forbidden', () => {
  const folder = mkdtempSync(join(tmpdir(), 'unit-file-'))
  try {
    const exposure = (text: string): number => {
      const path = join(folder, NAME)
      writeFileSync(path, text)
      const { stdout } = spawnSync('systemd-analyze', ['security', '--offline=true', '--no-pager', path], { encoding: 'utf8' })
      return Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1])
    }
    expect(exposure(unit)).toBeLessThanOrEqual(EXPOSURE_MAX)
    expect(exposure(unit.replace(/^(CapabilityBoundingSet|SystemCallFilter)=.*$/gm, ''))).toBeGreaterThan(EXPOSURE_MAX)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
