// Where a server listens: `HOST:PORT` or `[IPv6]:PORT` as people type it, and listening with errors that say what to do.
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SnapshotterError } from '../base/errors.ts'

export interface ListenAddress {
  readonly host: string
  /** 0 asks the kernel for a free one. */
  readonly port: number
}

const SHAPE = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/

/** @throws CONFIG_INVALID. */
export function parseListen (text: string): ListenAddress {
  const [, bracketed, plain, portText] = SHAPE.exec(text) ?? []
  const host = bracketed ?? plain
  const port = Number(portText)
  if (host === undefined || !(port <= 65_535)) {
    throw new SnapshotterError('CONFIG_INVALID', `listen address ${JSON.stringify(text)} is not HOST:PORT, for example 127.0.0.1:8080`)
  }
  return { host, port }
}

/** @returns `http://host:port` with the real port. @throws ENVIRONMENT when the address cannot be had. */
export async function listen (server: Server, { host, port }: ListenAddress): Promise<string> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port }, () => {
        server.removeListener('error', reject)
        resolve()
      })
    })
  } catch (cause) {
    const code = typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : String(cause)
    const why = code === 'EADDRINUSE' ? 'another program listens there' : code
    throw new SnapshotterError('ENVIRONMENT', `cannot listen on ${host}:${port}: ${why}`, {}, { cause })
  }
  const { address, family, port: bound } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`
}
