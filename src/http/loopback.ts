// Who may ask a loopback service: programs of this machine that name us as the host, and no page of a browser but our own,
// so that no web page reads along by way of a name that leads here (DNS rebinding).
import type { IncomingMessage } from 'node:http'

const LOOPBACK_NAMES = ['127.0.0.1', '[::1]', 'localhost']

/** `host` as configured and `port` as bound. Null, or what to answer to a stranger. */
export function whyStranger ({ headers: { host = '', origin } }: IncomingMessage, own: string, port: number): string | null {
  const names = [own, ...LOOPBACK_NAMES].map((name) => `${name}:${port}`)
  if (!names.includes(host.toLowerCase())) return `host ${JSON.stringify(host.slice(0, 80))} is not this listener`
  const isOurs = origin === undefined || names.includes(origin.replace(/^http:\/\//, ''))
  return isOurs ? null : `pages of ${JSON.stringify(origin.slice(0, 80))} may not ask here`
}
