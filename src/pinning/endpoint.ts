// Where blocks go out: the address of an RPC or of a pinning service, and the header that opens it. A secret goes to that origin only,
// and over http to this machine only.
import { SnapshotterError } from '../base/errors.ts'
import { mayCarryToken } from '../ipfs/gateway-origin.ts'

export interface Endpoint {
  /** Without a slash at its end; commands and `/pins` stand below it. */
  readonly base: string
  /** Scheme, host and port: what messages call it. */
  readonly name: string
  readonly headers: Readonly<Record<string, string>>
}

const RPC_PATH = '/api/v0'
const MULTIADDR = /^\/(?:ip4|ip6|dns|dns4|dns6)\/([^/]+)\/tcp\/(\d{1,5})(?:\/(https?))?\/?$/

/** The RPC of a Kubo: a URL, with or without `/api/v0`, or a multiaddr as in Kubo's file `api`. @throws CONFIG_INVALID */
export function rpcEndpoint (text: string, secret: string | null): Endpoint {
  const [, host, port = '', scheme = 'http'] = MULTIADDR.exec(text) ?? []
  const url = host === undefined ? text : `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  const { base, ...rest } = endpoint('--to', url, secret)
  return { ...rest, base: base.endsWith(RPC_PATH) ? base : `${base}${RPC_PATH}` }
}

/** `what` names the setting in messages. @throws CONFIG_INVALID */
export function endpoint (what: string, text: string, secret: string | null): Endpoint {
  const url = URL.parse(text)
  const refused = (why: string): SnapshotterError => new SnapshotterError('CONFIG_INVALID', `${what} ${why}`)
  if (url === null || !/^https?:$/.test(url.protocol)) throw refused(`${JSON.stringify(text.slice(0, 200))} is no http(s) URL`)
  if (url.username !== '' || url.password !== '') throw refused(`${url.host} holds credentials: put them into a token file`)
  if (url.search !== '' || url.hash !== '') throw refused(`${url.origin} has a query or fragment`)
  if (secret !== null && !mayCarryToken(url, url)) throw refused(`${url.origin} has a token, which is not sent over http except to this machine: use https`)
  return { base: `${url.origin}${url.pathname.replace(/\/+$/, '')}`, name: url.origin, headers: secret === null ? {} : credentials(what, secret) }
}

/**
 * The header of a secret: `Name: value` as it is; `Bearer TOKEN`, `Basic …` or, as `ipfs --api-auth` spells them, `bearer:TOKEN` and
 * `basic:USER:PASSWORD`; a single word is a bearer token.
 * @throws CONFIG_INVALID, without a letter of it
 */
function credentials (what: string, secret: string): Record<string, string> {
  const [, scheme = '', rest = ''] = /^(basic|bearer)\s*[: ]\s*(\S.*)$/i.exec(secret) ?? []
  const [, name = '', value = ''] = /^([A-Za-z0-9-]+):\s+(\S.*)$/.exec(secret) ?? []
  const header = scheme !== ''
    ? { authorization: scheme.toLowerCase() === 'bearer' ? `Bearer ${rest}` : `Basic ${rest.includes(':') ? Buffer.from(rest).toString('base64') : rest}` }
    : name !== '' ? { [name.toLowerCase()]: value } : /\s/.test(secret) ? {} : { authorization: `Bearer ${secret}` }
  const [line] = Object.values(header)
  if (line === undefined || !/^[\x20-\x7e]+$/.test(line)) {
    throw new SnapshotterError('CONFIG_INVALID', `the token file of ${what} holds none of: TOKEN, Bearer TOKEN, Basic USER:PASSWORD, Name: value`)
  }
  return header
}
