// A plain HTTP client for tests: sends what it is told, follows nothing, and says whether the answer came whole.
import { Agent, request } from 'node:http'

export interface Asked {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
  /** False when the connection ended before the answer did. */
  readonly whole: boolean
}

export async function ask (url: string, options: { method?: string, headers?: Readonly<Record<string, string>> } = {}): Promise<Asked> {
  const { hostname, port } = new URL(url)
  const path = url.slice(url.indexOf('/', 'http://'.length)) // unnormalised
  return await new Promise((resolve, reject) => {
    const agent = new Agent({ keepAlive: false })
    request({ hostname, port, path, agent, method: options.method ?? 'GET', headers: { ...options.headers } }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', () => {}) // told by `whole`
      response.on('close', () => resolve({
        status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks), whole: response.complete
      }))
    }).on('error', reject).end()
  })
}
