// Where requests and tokens may go.
import { describe, expect, test } from '@jest/globals'
import { mayCarryToken, parseOrigin, redirectTarget } from '../../src/ipfs/gateway-origin.ts'

describe('source URLs', () => {
  test.each([
    ['https://gw.example', 'secret'], ['https://gw.example/prefix/', undefined], ['http://gw.example', undefined], ['http://127.0.0.1:8080', 'secret'],
    ['http://[::1]:8080', 'secret'], ['http://localhost:5001', 'secret'], ['http://cid.localhost', 'secret']
  ])('%s is fine', (url, token) => {
    expect(parseOrigin(url, token).href).toContain('http')
  })

  test.each<[string, string | undefined, string]>([
    ['http://gw.example', 'secret', 'has a token, which is not sent over http'],
    ['http://10.0.0.1', 'secret', 'has a token, which is not sent over http'],
    ['http://localhost.example', 'secret', 'has a token, which is not sent over http'],
    ['https://user:word@gw.example', undefined, 'holds credentials'],
    ['https://gw.example/?x=1', undefined, 'has a query or fragment'],
    ['ipfs://bafy', undefined, 'no http or https URL'],
    ['gw.example', undefined, 'no http or https URL'],
    ['https://gw.example', 'two words', 'spaces or control characters'],
    ['https://gw.example', 'a\r\nx-evil: 1', 'spaces or control characters'],
    ['https://gw.example', '', 'is empty']
  ])('%s with token %s is refused', (url, token, why) => {
    expect(() => parseOrigin(url, token)).toThrow(why)
    if (token !== undefined && token !== '') expect(() => parseOrigin(url, token)).not.toThrow(token)
  })
})

describe('tokens', () => {
  test.each<[string, string, boolean]>([
    ['https://gw.example/ipfs/x', 'https://gw.example', true],
    ['https://gw.example:444/ipfs/x', 'https://gw.example', false],
    ['https://sub.gw.example/', 'https://gw.example', false],
    ['http://gw.example/', 'https://gw.example', false],
    ['http://127.0.0.1:80/', 'http://127.0.0.1', true]
  ])('to %s, configured %s: %s', (target, configured, expected) => {
    expect(mayCarryToken(new URL(target), new URL(configured))).toBe(expected)
  })
})

describe('redirects', () => {
  test.each<[string, string, string]>([
    ['https://gw.example/ipfs/x', 'https://x.ipfs.gw.example/', 'https://x.ipfs.gw.example/'],
    ['https://gw.example/ipfs/x', '/ipfs/x/?a=1', 'https://gw.example/ipfs/x/?a=1'],
    ['http://gw.example/', 'https://gw.example/', 'https://gw.example/'],
    ['http://127.0.0.1:1/', 'http://127.0.0.1:2/', 'http://127.0.0.1:2/'],
    ['http://10.0.0.5/', 'http://192.168.1.1/', 'http://192.168.1.1/']
  ])('%s may go to %s', (from, location, to) => {
    expect(String(redirectTarget(new URL(from), location))).toBe(to)
  })

  test.each<[string, string, string]>([
    ['https://gw.example/', 'http://gw.example/', 'redirect from https to http'],
    ['https://gw.example/', 'file:///etc/passwd', 'redirect to no http or https URL'],
    ['https://gw.example/', 'https://a:b@gw.example/', 'redirect with credentials'],
    ['http://gw.example/', 'http://127.0.0.1:8006/aa/token', 'redirect from a public to a private address'],
    ['http://gw.example/', 'http://[::1]/', 'redirect from a public to a private address'],
    ['http://gw.example/', 'http://[::ffff:127.0.0.1]/', 'redirect from a public to a private address'],
    ['http://gw.example/', 'http://169.254.169.254/latest', 'redirect from a public to a private address'],
    ['http://gw.example/', 'http://localhost./', 'redirect from a public to a private address'],
    ['http://gw.example/', 'http://0x7f.1/', 'redirect from a public to a private address'],
    ['http://gw.example/', 'http://[fd00::1]/', 'redirect from a public to a private address']
  ])('%s may not go to %s', (from, location, why) => {
    expect(redirectTarget(new URL(from), location)).toBe(why)
  })
})
