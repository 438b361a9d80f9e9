// `serve --stop`: ends the daemon and the guardian that runs, and unmounts everything of ours.
import { join } from 'node:path'
import { sleep } from '../base/clock.ts'
import { hasCode, SnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Report } from '../base/report.ts'
import type { Config } from '../config/load.ts'
import { callControl } from '../http/control-client.ts'
import { takeSocket } from '../http/control-server.ts'
import { NativeProgram } from '../mount/native-program.ts'
import { TreeClient } from '../mount/tree-client.ts'
import { controlSocketOf } from './daemon.ts'
import { ownUsedFolders } from './own-folders.ts'

const EXIT_TRIES = 200
const EXIT_PAUSE_MS = 50

interface Watching {
  readonly log: Log
  readonly report: Report
  /** Between two steps; each may be made again. */
  readonly signal: AbortSignal
}

/** @throws MOUNT_FAILED naming what is busy; FAILED_PRECONDITION when a daemon does not end; the signal's reason. */
export async function stopEverything (config: Config, { log, report, signal }: Watching): Promise<void> {
  const step = async <Result> (item: string, phase: string, done: string, work: () => Promise<Result>): Promise<Result> => {
    signal.throwIfAborted()
    report({ event: 'begin', item, phase, total: 0 })
    const result = await work()
    report({ event: 'end', item, text: done })
    return result
  }
  const native = await NativeProgram.locate(log)
  await step('daemon', 'stop', 'stopped', async () => { await endDaemon(controlSocketOf(config), signal) })
  // A daemon that is just starting answers nobody yet, and one that is ending is not gone yet.
  using _owned = ownUsedFolders(config)
  // The layers lie below root, the data device below state: in this order, so that no mount keeps the other busy.
  await step('layers', 'unmount', 'unmounted', async () => await native.run(['umount-tree', join(config.root, 'snapshots')]))
  await step('data plane', 'stop', 'stopped', async () => {
    await new TreeClient(config.state).end() // it has files of the data device open
    await native.stopGuardian(config.state)
    await native.run(['umount-tree', config.state])
  })
  // Whoever was killed left its socket.
  for (const socket of [controlSocketOf(config), config.grpcAddress, join(config.state, 'data.sock')]) await takeSocket(socket)
  log.info({ state: config.state }, 'stopped')
}

async function endDaemon (socket: string, signal: AbortSignal): Promise<void> {
  for (let tries = 0; tries < EXIT_TRIES; tries++) {
    try {
      await callControl(socket, '/exit', null)
    } catch (error) {
      if (hasCode(error, 'UNAVAILABLE')) return
      throw error
    }
    await sleep(EXIT_PAUSE_MS, signal)
  }
  // Never unmount beside a daemon that lives: it would mount again.
  throw new SnapshotterError('FAILED_PRECONDITION', `the daemon on ${socket} did not end within ${EXIT_TRIES * EXIT_PAUSE_MS} ms; end it and try again`)
}
