// `gateway --car FILE… --listen ADDR`: a trustless gateway over CAR files until SIGINT or SIGTERM. stdout carries one line
// with the address once it listens; everything else goes to stderr.
import { Command } from 'commander'
import { createLog } from '../base/log.ts'
import { startGateway } from '../http/gateway.ts'
import { parseListen } from '../http/gateway-listen.ts'
import { openCarStore } from '../ipfs/car-store.ts'

interface GatewayFlags {
  readonly car: readonly string[]
  readonly listen: string
  readonly json: boolean
}

/** @throws (from its action) CONFIG_INVALID, ENVIRONMENT, NOT_FOUND, CAR_INVALID, CAR_TRUNCATED, BLOCK_TOO_LARGE. */
export function gatewayCommand (): Command {
  return new Command('gateway')
    .description('serve the blocks of CAR files as a trustless IPFS gateway')
    .requiredOption('--car <file...>', 'CAR version 1 file; may be repeated')
    .option('--listen <address>', 'HOST:PORT; port 0 takes a free one', '127.0.0.1:8080')
    .option('--json', 'print the address as a JSON object', false)
    .option('--config <file>', 'accepted and not needed')
    .action(async (flags: GatewayFlags) => { await runGateway(flags) })
}

async function runGateway (flags: GatewayFlags): Promise<void> {
  const log = createLog()
  const stop = new AbortController()
  const onSignal = (): void => stop.abort()
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
  try {
    const address = parseListen(flags.listen)
    const store = await openCarStore(flags.car, { signal: stop.signal })
    try {
      log.info({ files: flags.car.length, blocks: store.blocks, skipped: store.skipped, roots: store.roots.map(String) }, 'car files indexed')
      const gateway = await startGateway({ store, listen: address, log })
      process.stdout.write(`${flags.json ? JSON.stringify({ url: gateway.url, roots: store.roots.map(String), blocks: store.blocks }) : gateway.url}\n`)
      await new Promise<void>((resolve) => {
        if (stop.signal.aborted) resolve()
        stop.signal.addEventListener('abort', () => resolve(), { once: true })
      })
      await gateway.close()
      log.info({ url: gateway.url }, 'gateway stopped')
    } finally {
      await store.close()
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error // told to stop while it was still indexing
  } finally {
    process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal)
  }
}
