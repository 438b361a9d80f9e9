// `status`: what the daemon serves and what it cost.
import { Command } from 'commander'
import { join } from 'node:path'
import { loadConfig } from '../config/load.ts'
import { callControl } from '../http/control-client.ts'
import type { DebugReport } from '../daemon/debug.ts'
import type { Status } from '../daemon/status.ts'
import { describeDebug } from './describe-debug.ts'
import { describeStatus } from './describe-status.ts'

export function statusCommand (): Command {
  return new Command('status')
    .description('what the daemon serves: images, layers, gateways, worker, and what went wrong lately')
    .option('--config <file>', 'settings (TOML)')
    .option('--debug', 'also what is waiting right now, and on what')
    .option('--json', 'print one JSON object')
    .action(async (options: { readonly config?: string, readonly debug?: boolean, readonly json?: boolean }) => {
      const config = loadConfig(options.config)
      const socket = join(config.state, 'control.sock')
      const status = await callControl(socket, '/status', null) as Status
      const debug = options.debug === true ? await callControl(socket, '/debug', null) as DebugReport : null
      if (options.json === true) process.stdout.write(`${JSON.stringify(debug === null ? status : { ...status, debug })}\n`)
      else process.stdout.write(describeStatus(status) + (debug === null ? '' : describeDebug(debug)))
    })
}
