// Edits to containerd's configuration: what is there stays, what is asked for comes, and what cannot be edited is refused.
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { parse } from 'smol-toml'
import { type ContainerdWish, patchContainerdConfig } from '../../src/config/containerd-config.ts'

const WISH: ContainerdWish = {
  names: ['ipfs'], address: '/run/ipfs-snapshotter/snapshotter.sock', hostsDir: '/etc/containerd/certs.d',
  cri: false, content: false, version: { major: 2, minor: 4 }, force: false
}
const ALL = { ...WISH, cri: true, content: true }
const V16 = { major: 1, minor: 6 }

interface Meaning {
  readonly version: number
  readonly disabled_plugins?: string[]
  readonly proxy_plugins: Record<string, { readonly type: string, readonly address: string, readonly exports?: Record<string, string> }>
  readonly plugins: Record<string, Record<string, unknown>>
}
const meaning = (text: string): Meaning => parse(text) as unknown as Meaning
const patched = (text: string | null, wish = WISH): string => patchContainerdConfig(text, wish).text

describe('a new file', () => {
  for (const [version, wanted] of [[V16, 2], [{ major: 2, minor: 0 }, 3], [{ major: 2, minor: 4 }, 4]] as const) {
    test(`has version ${wanted} for containerd ${version.major}.${version.minor}`, () => {
      const text = patched(null, { ...WISH, version })
      expect(meaning(text).version).toBe(wanted)
      expect(meaning(text).proxy_plugins['ipfs']).toMatchObject({ type: 'snapshot', address: WISH.address })
      expect(text.includes('unpack_config')).toBe(version.major >= 2)
      expect(text.includes('exports')).toBe(version.major === 2 && version.minor > 0)
      expect(patched(text, { ...WISH, version })).toBe(text)
    })
  }
})

describe('a file that is there', () => {
  test('keeps every line, and gets a value under the header of its table', () => {
    const text = 'version = 2 # mine\n\n[plugins]\n' +
      '  [plugins."io.containerd.grpc.v1.cri".containerd] # here\n    snapshotter = "overlayfs" # why\n# end without newline'
    const after = patched(text, { ...ALL, version: V16 })
    const kept = ['version = 2 # mine', '# end without newline', '  [plugins."io.containerd.grpc.v1.cri".containerd] # here']
    expect(after.split('\n')).toEqual(expect.arrayContaining(kept))
    expect(after).toContain('snapshotter = "ipfs" # why')
    expect(after).toContain('# here\n    disable_snapshot_annotations = false\n')
    expect(after.startsWith('version = 2 # mine\ndisabled_plugins = ["io.containerd.content.v1.content"]\n')).toBe(true)
    expect(meaning(after).plugins['io.containerd.grpc.v1.cri']).toEqual({
      containerd: { snapshotter: 'ipfs', disable_snapshot_annotations: false }, registry: { config_path: WISH.hostsDir }
    })
  })

  test('keeps CRLF, a byte order mark and a quoted spelling of our own keys', () => {
    const crlf = '\uFEFFversion = 3\r\n[plugins.\'io.containerd.transfer.v1.local\']\r\nconfig_path = \'\'\r\n'
    const after = patched(crlf)
    expect(after.startsWith('\uFEFFversion = 3\r\n')).toBe(true)
    expect(after.replaceAll('\r\n', '')).not.toContain('\n')
    expect(meaning(after).plugins['io.containerd.transfer.v1.local']?.['config_path']).toBe(WISH.hostsDir)
    const quoted = 'version = 3\n["proxy_plugins".\'ipfs\']\n"type" = "snapshot"\n'
    expect(patched(quoted)).toContain(`'ipfs']\n  address = "${WISH.address}"\n"type" = "snapshot"\n`)
    expect(patched('version = 3\n[proxy_plugins."i\\u0070fs"]\ntype = "snapshot"\n')).toContain(`fs"]\n  address = "${WISH.address}"\n`)
  })

  test('is not misled by headers inside strings and comments', () => {
    const text = 'version = 3\nnote = """\n[proxy_plugins.ipfs]\n"""\nlist = [ # [proxy_plugins.ipfs]\n  "]", # ]\n]\n# [proxy_plugins.ipfs]\n'
    expect(patched(text).startsWith(text)).toBe(true)
  })

  test('gets a plugin disabled beside others, whatever the list looks like', () => {
    for (const list of ['["a.b"]', '[]', '[ # none\n]', '[\n  "a.b", # x\n  "c.d"\n]', "['a.b',]"]) {
      const before = `version = 2\ndisabled_plugins = ${list}\n`
      const old = meaning(before).disabled_plugins ?? []
      expect(meaning(patched(before, ALL)).disabled_plugins).toEqual(['io.containerd.content.v1.content', ...old])
    }
  })

  test('keeps its own unpack entries and gets one more; a first one brings the default with it', () => {
    const own = 'version = 3\n[[plugins."io.containerd.transfer.v1.local".unpack_config]]\nplatform = "linux"\nsnapshotter = "native"\n'
    const names = (text: string): unknown[] => (meaning(text).plugins['io.containerd.transfer.v1.local']?.['unpack_config'] as Array<Record<string, unknown>>)
      .map((entry) => entry['snapshotter'])
    expect(names(patched(own))).toEqual(['native', 'ipfs'])
    expect(names(patched('version = 3\n', { ...WISH, names: ['ipfs', 'stargz'] }))).toEqual(['overlayfs', 'ipfs', 'stargz'])
    expect(names(patched(patched('version = 3\n'), { ...WISH, names: ['stargz'] }))).toEqual(['overlayfs', 'ipfs', 'stargz'])
  })

  test('names CRI by the version of the file, and where containerd 2 looks when that is old', () => {
    const [old, runtimes] = [['io.containerd.grpc.v1.cri', 'containerd', 'snapshotter'], '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n']
    expect(meaning(patched('version = 2\n', { ...ALL, version: V16 })).plugins).toHaveProperty(old, 'ipfs')
    expect(meaning(patched(`version = 2\n${runtimes}`, ALL)).plugins).toHaveProperty(old, 'ipfs')
    expect(meaning(patched('version = 2\n', ALL)).plugins).toMatchObject({
      'io.containerd.cri.v1.images': { snapshotter: 'ipfs' },
      'io.containerd.grpc.v1.cri': { registry: { config_path: WISH.hostsDir } }
    })
    for (const version of [3, 4]) {
      const images = meaning(patched(`version = ${version}\n`, ALL)).plugins['io.containerd.cri.v1.images']
      expect(images).toEqual({ snapshotter: 'ipfs', registry: { config_path: WISH.hostsDir } })
    }
  })

  test('gets one folder of hosts for CRI from 2.1 on, which takes a list for the name of one', () => {
    const pair = `${WISH.hostsDir}:/etc/docker/certs.d`
    const file = (path: string, more = ''): string =>
      `version = 3\n[plugins."io.containerd.cri.v1.images"]\n${more}[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "${path}"\n`
    const pathIn = (text: string, minor = 4): unknown =>
      meaning(patched(text, { ...WISH, cri: true, version: { major: 2, minor } })).plugins['io.containerd.cri.v1.images']?.['registry']
    expect(pathIn(file(pair))).toEqual({ config_path: WISH.hostsDir })
    expect(pathIn(file(pair), 0)).toEqual({ config_path: pair })
    expect(pathIn('version = 3\n', 0)).toEqual({ config_path: pair })
    expect(pathIn(file(pair, 'use_local_image_pull = true\n'))).toEqual({ config_path: pair })
    expect(() => pathIn(file(`/mine:${WISH.hostsDir}`))).toThrow(/config_path is "\/mine:.*--force/)
  })

  test('of 40,000 lines is edited', () => {
    const text = `version = 3\n${Array.from({ length: 20_000 }, (_, at) => `[x.t${at}]\na = ${at}\n`).join('')}`
    expect(patched(text).startsWith(text)).toBe(true)
  })
})

describe('refuses', () => {
  const bad: ReadonlyArray<readonly [string, string, RegExp, Partial<ContainerdWish>?]> = [
    ['version 1', 'version = 1\n', /has version 1.*config migrate/],
    ['no version', '[plugins]\n', /config migrate/],
    ['a version that the binary does not read', 'version = 3\n', /1\.6 reads 2 to 2/, { version: V16 }],
    ['what is no TOML', 'version = = 2\n', /is no TOML/],
    ['a header twice', 'version = 2\n[a]\n[a]\n', /is no TOML/],
    ['an inline table', 'version = 2\nproxy_plugins = { other = { type = "snapshot", address = "/x" } }\n',
      /by hand: \[proxy_plugins.ipfs\] type = "snapshot"/],
    ['an inline list of unpack entries', 'version = 3\n[plugins."io.containerd.transfer.v1.local"]\nunpack_config = []\n', /by hand/],
    ['a table of dotted keys', 'version = 2\n[proxy_plugins]\nipfs.type = "snapshot"\n', /by hand/],
    ['a table where a value is', 'version = 2\nproxy_plugins = 3\n', /is no table/],
    ['another address', 'version = 2\n[proxy_plugins.ipfs]\ntype = "snapshot"\naddress = "/other"\n', /is "\/other", not .*--force/],
    ['another snapshotter of CRI', 'version = 3\n[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "stargz"\n', /--force/, { cri: true }],
    ['inline mirrors of CRI', 'version = 3\n[plugins."io.containerd.cri.v1.images".registry.mirrors.x]\nendpoint = []\n',
      /excludes config_path/, { cri: true }],
    ['a built-in name', 'version = 2\n', /is no name/, { names: ['overlayfs'] }],
    ['a name that is none', 'version = 2\n', /is no name/, { names: ['a b'] }]
  ]
  test.each(bad)('%s', (_, text, why, more = {}) => {
    expect(() => patched(text, { ...WISH, ...more })).toThrow(why)
  })

  test('a folder of hosts that differs, but not a list that has ours', () => {
    const text = (path: string): string => `version = 3\n[plugins."io.containerd.transfer.v1.local"]\nconfig_path = "${path}"\n`
    expect(() => patched(text('/mine'))).toThrow(/config_path is "\/mine"/)
    expect(patched(text('/mine'), { ...WISH, force: true })).not.toContain('/mine')
    expect(patched(text(`/mine:${WISH.hostsDir}`)).startsWith(text(`/mine:${WISH.hostsDir}`))).toBe(true)
  })
})

test('another value is replaced by force', () => {
  const text = 'version = 2\n[proxy_plugins.ipfs]\ntype = "snapshot"\naddress = "/other" # mine\n'
  expect(patched(text, { ...WISH, force: true })).toContain(`address = "${WISH.address}" # mine\n`)
})

test('a hunk is the line that goes and the line that comes', () => {
  const text = 'version = 3\n[plugins."io.containerd.cri.v1.images"]\n  snapshotter = "overlayfs" # x\n'
  expect(patchContainerdConfig(text, { ...ALL, content: false }).hunks[0]).toEqual({
    line: 3, removed: ['  snapshotter = "overlayfs" # x'], added: ['  snapshotter = "ipfs" # x']
  })
})

const piece = fc.constantFrom(
  '# a comment', '', 'root = "/x"', 'disabled_plugins = [ "a.b" ] # c', 'imports = [\n  "x", # [y]\n]', 'text = """\n[a]\nb = "c" """"', "raw = '''\n[x]'''",
  '[plugins]', '[ plugins . "io.containerd.transfer.v1.local" ]\n  config_path = ""',
  '[[plugins."io.containerd.transfer.v1.local".unpack_config]]\nsnapshotter = "native"',
  '[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "" # none',
  '[plugins."io.containerd.cri.v1.images".registry]\n\tconfig_path = \'\'', '[proxy_plugins]',
  '[proxy_plugins.other]\ntype = "snapshot"\naddress = "/o"', '[proxy_plugins.ipfs]', '[proxy_plugins.ipfs.exports]\nroot = "/r"',
  '[timeouts]\n"a.b" = "1s"', 'plugins.x.y = 1',
  '[plugins.x]\na.b.c = { d = [1, { e = "]" }] }\nwhen = 2020-01-01T00:00:00Z'
)

test('every file is either refused or means what it meant and what was asked for; twice is once', () => {
  let edited = 0
  fc.assert(fc.property(fc.uniqueArray(piece, { maxLength: 9 }), fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean(), (pieces, crlf, ends, cri, content) => {
    const wish = { ...WISH, cri, content }
    const text = `version = 3\n${pieces.join('\n')}${ends ? '\n' : ''}`.replaceAll('\n', crlf ? '\r\n' : '\n')
    let after: string
    try {
      after = patched(text, wish)
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/^(?:CONFIG_INVALID|UNSUPPORTED)$/) })
      return
    }
    edited++
    expect(patched(after, wish)).toBe(after)
    expect(meaning(after).proxy_plugins['ipfs']?.address).toBe(WISH.address)
    // Nothing of the user's is lost: every comment is still there, in its order.
    expect(after.match(/# \S.*/g)?.filter((line) => text.includes(line.trim())) ?? []).toEqual(text.match(/# \S.*/g) ?? [])
  }), { numRuns: 400 })
  expect(edited).toBeGreaterThan(50)
})
