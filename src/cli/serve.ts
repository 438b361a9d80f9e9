// `serve`: the daemon. SIGTERM and SIGINT leave guardian and mounts for the next one; `--stop` takes everything down.
import { Command, Option } from 'commander'
import { once } from 'node:events'
import { createLog } from '../base/log.ts'
import { loadConfig } from '../config/load.ts'

interface ServeOptions {
  readonly config?: string
  readonly stop?: boolean
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
}

export function serveCommand (): Command {
  return new Command('serve')
    .description('the daemon: containerd snapshotter over gRPC, and the control socket of the other commands')
    .option('--config <file>', 'settings (TOML)')
    .option('--stop', 'unmount everything and end the data plane that an earlier daemon left')
    .addOption(new Option('--log-level <level>', 'how much to log').choices(['debug', 'info', 'warn', 'error']).default('info'))
    .action(async (options: ServeOptions) => {
      const log = createLog(options.logLevel)
      const config = loadConfig(options.config)
      if (options.stop === true) {
        const { stopEverything } = await import('../daemon/stop.ts')
        await stopEverything(config, log)
        return
      }
      const { startDaemon } = await import('../daemon/daemon.ts')
      const signalled = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
      const daemon = await startDaemon(config, log)
      await Promise.race([signalled, daemon.asked])
      log.info({}, 'stopping; mounts stay')
      await daemon.close()
    })
}
