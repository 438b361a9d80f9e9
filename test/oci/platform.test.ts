import { expect, test } from '@jest/globals'
import { formatPlatform, hostPlatform, parsePlatform, samePlatform } from '../../src/oci/platform.ts'

test.each([
  ['linux/amd64', 'linux/amd64'], ['linux/amd64/v1', 'linux/amd64'], ['linux/amd64/v3', 'linux/amd64/v3'], ['linux/x86_64', 'linux/amd64'],
  ['linux/arm64/v8', 'linux/arm64'], ['linux/aarch64', 'linux/arm64'], ['linux/arm', 'linux/arm/v7'], ['linux/arm/v6', 'linux/arm/v6'],
    ['linux/riscv64', 'linux/riscv64']
])('%s is %s', (text, normal) => {
  expect(formatPlatform(parsePlatform(text))).toBe(normal)
})

test.each(['', 'linux', 'linux/', '/amd64', 'linux/amd64/v3/x', 'Linux/amd64', 'linux/amd64 '])('%j is no platform', (text) => {
  expect(() => parsePlatform(text)).toThrow(`not a platform: ${JSON.stringify(text)}; write linux/amd64 or linux/arm/v7`)
})

test('Node\'s names of architectures become Go\'s', () => {
  expect(['x64', 'arm64', 'arm', 'ia32', 's390x'].map((name) => formatPlatform(hostPlatform(name))))
    .toEqual(['linux/amd64', 'linux/arm64', 'linux/arm/v7', 'linux/386', 'linux/s390x'])
})

test('a variant is never approximated', () => {
  expect(samePlatform(parsePlatform('linux/amd64'), parsePlatform('linux/amd64/v3'))).toBe(false)
  expect(samePlatform(parsePlatform('linux/arm/v7'), parsePlatform('linux/arm/v6'))).toBe(false)
  expect(samePlatform(parsePlatform('linux/arm64/v8'), parsePlatform('linux/arm64'))).toBe(true)
})
