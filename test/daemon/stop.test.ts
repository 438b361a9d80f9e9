import { expect, test } from '@jest/globals'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import type { ProgressEvent } from '../../src/base/report.ts'
import { loadConfig } from '../../src/config/load.ts'
import { controlSocketOf } from '../../src/daemon/daemon.ts'
import { stopEverything } from '../../src/daemon/stop.ts'
import { serveControl } from '../../src/http/control-server.ts'
import { nativeUnderTest } from '../suites/data-plane-fixture.ts'

test('--stop does not unmount beside a daemon that does not end, and says so', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'stop-'))
  const config = { ...loadConfig(undefined, { IPFS_SNAPSHOTTER_CONFIG: '/dev/null' }), root: join(folder, 'root'), state: folder }
  await nativeUnderTest() // builds it
  const control = await serveControl(controlSocketOf(config), { '/exit': async () => ({}) })
  const told: ProgressEvent[] = []
  try {
    const watching = { log: silentLog, report: (event: ProgressEvent) => { told.push(event) }, signal: new AbortController().signal }
    await expect(stopEverything(config, watching)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION', message: expect.stringMatching(/^the daemon on .*control\.sock did not end within 10000 ms; end it and try again$/)
    })
    expect(told).toEqual([{ event: 'begin', item: 'daemon', phase: 'stop', total: 0 }])
  } finally {
    await control.close()
    rmSync(folder, { recursive: true, force: true })
  }
}, 60_000)
