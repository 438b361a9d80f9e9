import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig, overrideSources } from '../../src/config/load.ts'

let folder: string
beforeAll(() => { folder = mkdtempSync(join(tmpdir(), 'config-')) })
afterAll(() => { rmSync(folder, { recursive: true }) })

function written (text: string, name = `${Buffer.from(text).length}-${text.length}.toml`): string {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

function secret (text: string, mode: number): string {
  const file = written(text, `token-${mode.toString(8)}`)
  chmodSync(file, mode)
  return file
}

test('an empty file gives the defaults of the design', () => {
  const config = loadConfig(written(''), {})

  expect(config).toMatchObject({
    root: '/var/lib/ipfs-snapshotter',
    state: '/run/ipfs-snapshotter',
    grpcAddress: '/run/ipfs-snapshotter/snapshotter.sock',
    containerdAddress: '/run/containerd/containerd.sock',
    driver: 'auto',
    cacheMaxBytes: 20 * 2 ** 30,
    cacheKey: 'disk',
    readDeadlineMs: 30_000,
    sources: []
  })
})

test('sources keep their order, their timeouts and the secrets that files hold', () => {
  const token = secret('s3cret\n', 0o600)
  const config = loadConfig(written(`
    [[source]]
    type = "gateway"
    url = "https://one.example"
    timeout = "2s"
    token_file = ${JSON.stringify(token)}
    [[source]]
    type = "car"
    path = "/images/a.car"`), {})

  expect(config.sources).toEqual([
    { type: 'gateway', url: 'https://one.example', timeoutMs: 2_000, token: 's3cret' },
    { type: 'car', path: '/images/a.car' }
  ])
})

test('the environment names the file when no option does', () => {
  const file = written('root = "/srv/x"', 'env.toml')

  expect(loadConfig(undefined, { IPFS_SNAPSHOTTER_CONFIG: file }).root).toBe('/srv/x')
})

test.each([
  ['a misspelled key', 'rooot = "/x"', /CONFIG_INVALID: .*:1: rooot: unknown key$/],
  ['a relative path', 'root = "x"', /must be an absolute path/],
  ['a wrong size', '[cache]\nmax_size = "20 cows"', /:2: cache\.max_size: "20 cows" is no size like "20GiB"$/],
  ['a wrong driver', '[mount]\ndriver = "nbd"', /:2: mount\.driver: /],
  ['a source that is no URL', '[[source]]\ntype = "gateway"\nurl = "one.example"', /:3: source\.0\.url: invalid URL$/],
  ['broken TOML', '# a comment\nroot = ', /\.toml:2: Invalid TOML/],
  ['a wrong key of the second source', '[[source]]\ntype = "car"\npath = "/a"\n[[source]]\ntype = "car"\npath = 3', /:6: source\.1\.path: /],
  ['a key that is missing', '[[source]]\ntype = "car"', /:1: source\.0\.path: /],
  ['a dotted key', 'cache.key = "disc"', /:1: cache\.key: /]
])('%s is refused in one line that names it', (name, text, message) => {
  const file = written(text, `${name.replaceAll(' ', '-')}.toml`)

  expect(() => loadConfig(file, {})).toThrow(expect.objectContaining({ line: expect.stringMatching(message) as unknown }))
})

test('a file that is not there is named', () => {
  expect(() => loadConfig('/nonexistent.toml', {})).toThrow('config file /nonexistent.toml cannot be read (ENOENT)')
})

test.each([
  [0o644, 's3cret', /^CONFIG_INVALID: token file \S+ is open to everybody on this machine \(mode 0644\); chmod 600 it, and change the token$/],
  [0o602, 's3cret', /\(mode 0602\)/],
  [0o601, '\n', /\(mode 0601\)/],
  [0o600, ' \n', /^CONFIG_INVALID: token file \S+ is empty$/],
  [0o400, 'x'.repeat(20_000), /^CONFIG_INVALID: token file \S+ has 20000 bytes, limit 16384$/]
])('a token file of mode %o is refused without a word of it', (mode, text, line) => {
  const file = secret(text, mode)
  const config = written(`[[source]]\ntype = "gateway"\nurl = "https://one.example"\ntoken_file = "${file}"`)

  expect(() => loadConfig(config, {})).toThrow(expect.objectContaining({ line: expect.stringMatching(line) as unknown }))
})

test('pinning services are named, and their tokens are left to whoever uses them', () => {
  const service = (name: string): string => `[[pinning]]\nname = "${name}"\nendpoint = "https://pin.example/psa"\ntoken_file = "/nonexistent"\n`

  expect(loadConfig(written(''), {}).pinning).toEqual([])
  expect(loadConfig(written(service('a.b') + service('c')), {}).pinning).toEqual([
    { name: 'a.b', endpoint: 'https://pin.example/psa', tokenFile: '/nonexistent' },
    { name: 'c', endpoint: 'https://pin.example/psa', tokenFile: '/nonexistent' }
  ])
  for (const [text, line] of [
    [service('a') + service('a'), /: pinning: has two services of one name$/],
    [service('a b'), /:2: pinning\.0\.name: must be a short name/],
    [service('a').replace('https', 'ftp'), /:3: pinning\.0\.endpoint: /],
    [service('a').replace('token_file', 'token'), /pinning\.0\.token/]
  ] as const) expect(() => loadConfig(written(text), {})).toThrow(expect.objectContaining({ line: expect.stringMatching(line) as unknown }))
})

test('--gateway takes the place of the configured sources', () => {
  const config = loadConfig(written(''), {})

  expect(overrideSources(config, ['http://127.0.0.1:1'], ['/a.car']).sources).toEqual([
    { type: 'car', path: '/a.car' },
    { type: 'gateway', url: 'http://127.0.0.1:1', timeoutMs: 10_000 }
  ])
  expect(() => overrideSources(config, ['ftp://x'])).toThrow('is no http(s) URL')
})

test('[http] is off, and takes loopback addresses only', () => {
  expect(loadConfig(written(''), {}).httpAddress).toBeNull()
  for (const address of ['127.0.0.1:9437', '[::1]:9437', 'localhost:0', '127.1.2.3:80']) {
    expect(loadConfig(written(`[http]\naddress = "${address}"`), {}).httpAddress).toBe(address)
  }
  const others = ['localhost.evil.example:80', '127.0.0.1.evil.example:80']
  for (const address of [...others, '0.0.0.0:9437', '10.0.0.1:9437', '[::]:9437', '127.0.0.1', '127.0.0.1:99999', ':9437']) {
    expect(() => loadConfig(written(`[http]\naddress = "${address}"`), {})).toThrow(/:2: http\.address: must be a loopback address with a port/)
  }
})

test('[store] and [gateway] have a size and an address that other machines reach', () => {
  expect(loadConfig(written(''), {})).toMatchObject({ storeMaxBytes: 20 * 2 ** 30, gatewayAddress: null })
  for (const address of ['0.0.0.0:8080', '[::]:8080', 'node.example:80', '127.0.0.1:0']) {
    const text = `[gateway]\naddress = "${address}"\n[store]\nmax_size = "1MiB"`
    expect(loadConfig(written(text), {})).toMatchObject({ storeMaxBytes: 2 ** 20, gatewayAddress: address })
  }
  for (const address of ['8080', ':8080', '0.0.0.0', '0.0.0.0:99999', '::1:80', 'http://a:80']) {
    expect(() => loadConfig(written(`[gateway]\naddress = "${address}"`), {})).toThrow(/:2: gateway\.address: must be an address with a port/)
  }
  for (const text of ['[store]\nsize = "1MiB"', '[gateway]\nlisten = "0.0.0.0:1"']) expect(() => loadConfig(written(text), {})).toThrow(/:2: .* unknown key/)
})
