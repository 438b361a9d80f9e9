// `gateway --car FILE…|--store DIR --listen ADDR`: a trustless gateway over CAR files, or over the folder of blocks that a
// daemon was given, until SIGINT or SIGTERM. stdout carries one line with the address once it listens; everything else goes
// to stderr.
import { Command } from 'commander'
import { createLog, type Log } from '../base/log.ts'
import { startGateway } from '../http/gateway.ts'
import { parseListen } from '../http/gateway-listen.ts'
import { BlockFolder } from '../ipfs/block-folder.ts'
import type { BlockStoreReadonly } from '../ipfs/block-store.ts'
import { openCarStore } from '../ipfs/car-store.ts'

interface GatewayFlags {
  readonly car?: readonly string[]
  readonly store?: string
  readonly listen: string
  readonly json: boolean
}

/** @throws (from its action) CONFIG_INVALID, ENVIRONMENT, NOT_FOUND, CAR_INVALID, CAR_TRUNCATED, BLOCK_TOO_LARGE. */
export function gatewayCommand (): Command {
  return new Command('gateway')
    .description('serve the blocks of CAR files, or those given to a daemon, as a trustless IPFS gateway')
    .option('--car <file...>', 'CAR version 1 file; may be repeated')
    .option('--store <folder>', 'blocks below the root of a daemon: <root>/blocks')
    .option('--listen <address>', 'HOST:PORT; port 0 takes a free one', '127.0.0.1:8080')
    .option('--json', 'print the address as a JSON object', false)
    .option('--config <file>', 'accepted and not needed')
    .action(async (flags: GatewayFlags, command: Command) => {
      if ((flags.car === undefined) === (flags.store === undefined)) command.error('error: name --car <file...> or --store <folder>, one of both')
      await runGateway(flags)
    })
}

async function runGateway (flags: GatewayFlags): Promise<void> {
  const log = createLog()
  const stop = new AbortController()
  const onSignal = (): void => stop.abort()
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
  try {
    const address = parseListen(flags.listen)
    const store = await openStore(flags, log, stop.signal)
    try {
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

async function openStore ({ car = [], store: folder }: GatewayFlags, log: Log, signal: AbortSignal): Promise<BlockStoreReadonly> {
  if (folder !== undefined) {
    const store = await BlockFolder.open(folder)
    log.info({ folder, blocks: store.blocks, pins: store.roots.map(String) }, 'blocks found')
    return store
  }
  const store = await openCarStore(car, { signal })
  log.info({ files: car.length, blocks: store.blocks, skipped: store.skipped, roots: store.roots.map(String) }, 'car files indexed')
  return store
}
