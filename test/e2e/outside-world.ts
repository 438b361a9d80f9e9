// The world outside a node as guides name it, on a machine of its own: https on loopback for gateways (in front of the one on port 8080)
// and for two pinning services. Arguments: key, certificate.
import { readFileSync } from 'node:fs'
import { type IncomingMessage, request, type ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { startPinningMock } from '../fakes/pinning-service.ts'

const GATEWAY = 'http://127.0.0.1:8080'

const [key = '', cert = ''] = process.argv.slice(2).map((file) => readFileSync(file, 'utf8'))
const [first, second] = [await startPinningMock('first-secret'), await startPinningMock('second-secret')]
const BEHIND: Readonly<Record<string, { readonly url: string, readonly below: string }>> = {
  'gateway.example': { url: GATEWAY, below: '' },
  'other-gateway.example': { url: GATEWAY, below: '' },
  'pins.first.example': { url: first.url, below: '/psa' },
  'pins.second.example': { url: second.url, below: '' }
}

function passOn (from: IncomingMessage, response: ServerResponse): void {
  const behind = BEHIND[from.headers.host ?? '']
  if (behind === undefined || from.url?.startsWith(behind.below) !== true) {
    response.writeHead(404).end()
    return
  }
  const to = request(`${behind.url}${from.url.slice(behind.below.length)}`, { method: from.method, headers: from.headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(response)
  })
  to.on('error', () => { response.destroy() })
  from.pipe(to)
}

createServer({ key, cert }, passOn).listen(443, '127.0.0.1')
