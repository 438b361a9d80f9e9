// `serve`: the daemon. SIGTERM and SIGINT leave guardian and mounts for the next one; `--stop` takes everything down.
import { Command, Option } from 'commander'
import { once } from 'node:events'
import { SnapshotterError } from '../base/errors.ts'
import { START_STOP_MS } from '../base/limits.ts'
import { createLog, type Log } from '../base/log.ts'
import { type Config, loadConfig } from '../config/load.ts'
import { interruptible } from './ending.ts'
import { progressFor } from './progress.ts'

interface ServeOptions {
  readonly config?: string
  readonly stop?: boolean
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
}

const STOPPED = new SnapshotterError('CANCELLED', 'asked to stop while starting')

/** The daemon, or null when it was to stop before it had started. */
async function startable<Started> (starting: Promise<Started>, signal: AbortSignal): Promise<Started | null> {
  // What is under way may take minutes (a build, mounts): it is as safe to die in as in a power cut.
  let timer: NodeJS.Timeout | undefined
  const hurry = (): void => { timer = setTimeout(dieOfSignal, START_STOP_MS) }
  signal.addEventListener('abort', hurry, { once: true })
  try {
    return await starting
  } catch (error) {
    if (error === STOPPED) return null
    throw error
  } finally {
    signal.removeEventListener('abort', hurry)
    clearTimeout(timer)
  }
}

/** As if nobody listened for it. */
function dieOfSignal (): void {
  process.removeAllListeners('SIGTERM')
  process.kill(process.pid, 'SIGTERM')
}

async function stop (config: Config, log: Log): Promise<void> {
  const { stopEverything } = await import('../daemon/stop.ts')
  const progress = progressFor({ progress: 'auto' })
  try {
    await interruptible('what is stopped and unmounted stays so, serve --stop again does the rest', async (signal) =>
      await stopEverything(config, { log, report: progress.report, signal }))
  } finally {
    progress.finish()
  }
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
        await stop(config, log)
        return
      }
      const { startDaemon } = await import('../daemon/daemon.ts')
      const stopping = new AbortController()
      const signalled = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]).then(() => { stopping.abort(STOPPED) })
      const daemon = await startable(startDaemon(config, log, stopping.signal), stopping.signal)
      if (daemon === null) {
        log.info({}, 'stopped while starting; mounts stay')
        return
      }
      await Promise.race([signalled, daemon.asked])
      log.info({}, 'stopping; mounts stay')
      await daemon.close()
    })
}
