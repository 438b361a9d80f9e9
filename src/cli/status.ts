// `status`: what the daemon serves and what it cost.
import { Command } from 'commander'
import { join } from 'node:path'
import { loadConfig } from '../config/load.ts'
import { callControl } from '../http/control-client.ts'
import { describeDebug } from './describe-debug.ts'
import type { DebugReport } from '../daemon/debug.ts'
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
    .option('--debug', 'also what is waiting right now, and on what')
    .option('--json', 'print one JSON object')
    .action(async (options: { readonly config?: string, readonly debug?: boolean, readonly json?: boolean }) => {
      const config = loadConfig(options.config)
      const socket = join(config.state, 'control.sock')
      const status = await callControl(socket, '/status', null) as StatusReport
      const debug = options.debug === true ? await callControl(socket, '/debug', null) as DebugReport : null
      if (options.json === true) process.stdout.write(`${JSON.stringify(debug === null ? status : { ...status, debug })}\n`)
      else process.stdout.write(describe(status) + (debug === null ? '' : describeDebug(debug)))
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
