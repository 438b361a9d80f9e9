// Where a gateway's requests may go, and which of them may carry its token. The token goes to the configured origin
// only, never over http except to loopback; a redirect never goes from https to http, nor from a public host to a private one.
import { BlockList, isIP } from 'node:net'
import { SnapshotterError } from '../base/errors.ts'

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8)
LOOPBACK.addAddress('::1', 'ipv6')

const PRIVATE = new BlockList()
for (const [net, prefix] of [
  ['0.0.0.0', 8], ['10.0.0.0', 8], ['100.64.0.0', 10], ['127.0.0.0', 8], ['169.254.0.0', 16], ['172.16.0.0', 12], ['192.168.0.0', 16]
] as const) PRIVATE.addSubnet(net, prefix)
for (const [net, prefix] of [['::', 127], ['fc00::', 7], ['fe80::', 10]] as const) PRIVATE.addSubnet(net, prefix, 'ipv6')

/**
 * The gateway's base address, checked.
 * @throws CONFIG_INVALID for another scheme, credentials, a query, or a token that would travel in the clear.
 */
export function parseOrigin (text: string, token: string | undefined): URL {
  const url = URL.parse(text)
  if (url === null || !isHttp(url)) {
    throw new SnapshotterError('CONFIG_INVALID', `source url ${JSON.stringify(text.slice(0, 200))} is no http or https URL`)
  }
  if (url.username !== '' || url.password !== '') throw new SnapshotterError('CONFIG_INVALID', `source url of ${url.host} holds credentials: use token_file`)
  if (url.search !== '' || url.hash !== '') throw new SnapshotterError('CONFIG_INVALID', `source url ${url.origin} has a query or fragment`)
  if (token !== undefined && !isSafe(url)) {
    throw new SnapshotterError('CONFIG_INVALID', `source ${url.origin} has a token, which is not sent over http except to loopback: use https`)
  }
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new SnapshotterError('CONFIG_INVALID', `the token of ${url.origin} is empty or has spaces or control characters`)
  }
  return url
}

export function mayCarryToken (target: URL, configured: URL): boolean {
  return target.origin === configured.origin && isSafe(target)
}

/** The next hop of a redirect, or why it is refused. */
export function redirectTarget (from: URL, location: string): URL | string {
  const to = URL.parse(location, from.href)
  if (to === null || !isHttp(to)) return 'redirect to no http or https URL'
  if (to.username !== '' || to.password !== '') return 'redirect with credentials'
  if (from.protocol === 'https:' && to.protocol === 'http:') return 'redirect from https to http'
  if (to.host !== from.host && isPrivateHost(to) && !isPrivateHost(from)) return 'redirect from a public to a private address'
  return to
}

function isHttp (url: URL): boolean {
  return url.protocol === 'https:' || url.protocol === 'http:'
}

function isSafe (url: URL): boolean {
  return url.protocol === 'https:' || inside(url, LOOPBACK)
}

function isPrivateHost (url: URL): boolean {
  return inside(url, PRIVATE)
}

/** By what the URL says: names are not resolved here. */
function inside (url: URL, list: BlockList): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  if (host === 'localhost' || host.endsWith('.localhost')) return true
  const family = isIP(host)
  return family !== 0 && list.check(host, family === 6 ? 'ipv6' : 'ipv4')
}
