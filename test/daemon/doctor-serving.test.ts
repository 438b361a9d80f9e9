import { expect, test } from '@jest/globals'
import { SnapshotterError } from '../../src/base/errors.ts'
import { loadConfig } from '../../src/config/load.ts'
import { fileSystems, kernel, loop, sameBuild, type ServingFacts, sockets, transfer } from '../../src/daemon/doctor-serving.ts'

const config = { ...loadConfig(undefined, { IPFS_SNAPSHOTTER_CONFIG: '/dev/null' }), state: '/run/s', grpcAddress: '/run/s/g.sock' }
const missing = async (): Promise<never> => { throw new Error('ENOENT') }
const healthy: ServingFacts = {
  fileSystem: async () => ({ type: 0xef53, freeBytes: 0 }),
  owner: async (path) => ({ mode: path.endsWith('.sock') ? 0o600 : 0o711, uid: 0 }),
  read: missing,
  firstLine: missing,
  now: () => 0,
  openError: async () => null,
  link: async () => null,
  requireFree: async () => {}
}
const changed = (changes: Partial<ServingFacts>): ServingFacts => ({ ...healthy, ...changes })

test.each<[string, boolean, 'auto' | 'erofs' | 'erofs-loop' | 'fuse', RegExp]>([
  ['6.18.44', true, 'auto', /driver erofs fits$/],
  ['6.1.0-28-amd64', true, 'auto', /driver erofs-loop fits; 6\.12 or newer has the driver erofs/],
  ['5.10.0', true, 'auto', /driver fuse fits; reads take longer with it, 5\.16 or newer/],
  ['6.18.0', false, 'auto', /driver fuse fits/],
  ['6.1.0', true, 'erofs-loop', /driver erofs-loop fits, as the config file wants/],
  ['5.4.0', false, 'fuse', /driver fuse fits, as the config file wants/]
])('on Linux %s, erofs %s, driver %s', (release, hasErofs, wanted, detail) => {
  expect(kernel(release, hasErofs, wanted)).toMatch(detail)
})

test('a driver that the kernel does not allow is named with the one that fits', () => {
  expect(() => kernel('6.1.0', true, 'erofs')).toThrow('Linux 6.1.0 has no place for the driver erofs of the config file; erofs-loop fits')
  expect(() => kernel('6.18.0', false, 'erofs')).toThrow('Linux 6.18.0 without EROFS has no place for the driver erofs of the config file; fuse fits')
  expect(() => kernel('4.4.0', false, 'auto')).toThrow('no driver fits')
})

test('without EROFS the driver fuse serves; nothing does without overlay and fuse', () => {
  expect(fileSystems('nodev\toverlay\nnodev\tfuse\n\terofs\n')).toMatchObject({ hasErofs: true })
  expect(fileSystems('nodev\toverlay\nnodev\tfuse\n')).toMatchObject({ hasErofs: false, detail: expect.stringContaining('the driver fuse serves') })
  expect(() => fileSystems('\terofs\nnodev\tfuse\n')).toThrow('the kernel does not know overlay')
})

test('loop devices are there or not', async () => {
  expect(await loop(healthy)).toBe('/dev/loop-control can be opened')
  await expect(loop(changed({ openError: async () => 'ENOENT' }))).rejects.toThrow('/dev/loop-control cannot be opened (ENOENT)')
})

test('sockets that are root\'s alone are fine, with a daemon and without', async () => {
  expect(await sockets(config, true, healthy)).toBe('/run/s/g.sock and /run/s/control.sock are root\'s alone')
  expect(await sockets(config, false, changed({ owner: async () => null }))).toContain('can be taken')
})

const inUse = async (): Promise<never> => { throw new SnapshotterError('ENVIRONMENT', '/run/s/g.sock is served by another process') }
test.each<[string, boolean, Partial<ServingFacts>, RegExp]>([
  ['a folder that others may write', true, { owner: async (path) => ({ mode: path.endsWith('.sock') ? 0o600 : 0o777, uid: 0 }) },
    /others may replace .*g\.sock: \/run\/s has uid 0 and mode 0777/],
  ['a folder of somebody else', true, { owner: async () => ({ mode: 0o700, uid: 7 }) }, /others may replace .* has uid 7/],
  ['a socket that others may use', true, { owner: async (path) => ({ mode: path.endsWith('.sock') ? 0o666 : 0o711, uid: 0 }) },
    /g\.sock is not root's alone \(uid 0, mode 0666\)/],
  ['a socket that somebody took away', true, { owner: async (path) => path.endsWith('.sock') ? null : { mode: 0o711, uid: 0 } },
    /the daemon answers, but .*g\.sock is gone/],
  ['a socket that somebody else serves', false, { requireFree: inUse }, /g\.sock is served by another process/]
])('%s is named', async (_, daemonAnswers, worse, line) => {
  await expect(sockets(config, daemonAnswers, changed(worse))).rejects.toThrow(line)
})

test('a sticky folder like /tmp keeps others from replacing what is in it', async () => {
  expect(await sockets(config, true, changed({ owner: async (path) => ({ mode: path.endsWith('.sock') ? 0o600 : 0o1777, uid: 0 }) })))
    .toContain('root\'s alone')
})

test('a guardian of another build is told from one of this build and from none', async () => {
  const pidFile = { read: async () => '42\n' }
  expect(await sameBuild('/n/program', '/run/s', healthy)).toBe('/n/program is built, none of it runs')
  expect(await sameBuild('/n/program', '/run/s', changed({ ...pidFile, link: async () => '/n/program' }))).toBe('/n/program runs as it is built (guardian 42)')
  await expect(sameBuild('/n/program', '/run/s', changed({ ...pidFile, link: async () => '/n/program (deleted)' })))
    .rejects.toThrow('guardian 42 runs /n/program (deleted), not /n/program as it is built now')
})

const GOOD = '[[plugins."io.containerd.transfer.v1.local".unpack_config]]\nplatform = "linux"\nsnapshotter = "ipfs"\n'
const containerdWith = (line: string, files: Readonly<Record<string, string>>): ServingFacts =>
  changed({ read: async (path) => path === '/proc/9/cmdline' ? line.replaceAll(' ', '\0') : files[path] ?? await missing() })

test('finds unpack_config in the file that containerd was started with', async () => {
  expect(await transfer('1.7.2', 0, 'ipfs', healthy)).toBe('containerd 1.7.2 pulls without a transfer service')
  for (const line of ['containerd --config /c.toml', 'containerd -c /c.toml', 'containerd --config=/c.toml']) {
    expect(await transfer('v2.3.5', 9, 'ipfs', containerdWith(line, { '/c.toml': GOOD }))).toBe('/c.toml lets the transfer service unpack with ipfs')
  }
  expect(await transfer('2.0.0', 9, 'ipfs', containerdWith('containerd', { '/etc/containerd/config.toml': GOOD })))
    .toContain('/etc/containerd/config.toml lets')
})

test.each([
  ['no file', {}], ['another snapshotter', { '/c.toml': GOOD.replace('ipfs', 'overlayfs') }], ['a comment', { '/c.toml': GOOD.replaceAll(/^/gm, '# ') }],
  ['a proxy plugin alone', { '/c.toml': '[proxy_plugins.ipfs]\naddress = "x"\nsnapshotter = "ipfs"\n' }]
])('says that containerd cannot pull with us: %s', async (_, files) => {
  await expect(transfer('2.3.5', 9, 'ipfs', containerdWith('containerd --config /c.toml', files as Record<string, string>)))
    .rejects.toThrow('/c.toml names ipfs in no unpack_config')
})
