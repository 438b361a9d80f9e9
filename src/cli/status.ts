// `status`: what the daemon serves and what it cost.
import { Command } from 'commander'
import { join } from 'node:path'
import { loadConfig } from '../config/load.ts'
import { callControl } from '../http/control-client.ts'
import type { SourceStatus } from '../ipfs/blocks.ts'

interface LayerStatus {
  readonly digest: string
  readonly size: number
  readonly fetchedBytes: number
  readonly cachedBytes: number
  readonly state: string
  readonly percent: number
}

interface StatusReport {
  readonly driver: string
  readonly layers: readonly LayerStatus[]
  readonly gateways: readonly SourceStatus[]
  readonly worker: { readonly pid: number, readonly restarts: number }
  readonly bytesServedUnverified: number
}

export function statusCommand (): Command {
  return new Command('status')
    .description('what the daemon serves: layers, gateways, worker')
    .option('--config <file>', 'settings (TOML)')
    .option('--json', 'print one JSON object')
    .action(async (options: { readonly config?: string, readonly json?: boolean }) => {
      const config = loadConfig(options.config)
      const status = await callControl(join(config.state, 'control.sock'), '/status', null) as StatusReport
      process.stdout.write(options.json === true ? `${JSON.stringify(status)}\n` : describe(status))
    })
}

function describe (status: StatusReport): string {
  const lines = [
    `driver ${status.driver}, worker ${status.worker.pid} (${status.worker.restarts} restarts), ${status.bytesServedUnverified} bytes served unverified`,
    ...status.layers.map(({ digest, size, fetchedBytes, cachedBytes, state, percent }) =>
      `layer ${digest.slice(0, 19)} ${state} (${percent} %): ${size} bytes, ${fetchedBytes} fetched, ${cachedBytes} cached`),
    ...status.gateways.map(({ name, requests, failures, bytes, budget }) =>
      `source ${name}: ${requests} requests, ${failures} failed, ${bytes} bytes${budget === null ? '' : `, ${budget} requests left`}`)
  ]
  return `${lines.join('\n')}\n`
}
