// A CAR into the RPC of a Kubo, so that its roots are pinned there. Streamed from the disk, sent whole again when the connection
// dies, and believed only when the RPC has said of each root that it is pinned.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import type { CID } from 'multiformats/cid'
import { sleep } from '../base/clock.ts'
import { hasCode, messageOf, SnapshotterError } from '../base/errors.ts'
import { PUSH_ANSWER_MS, PUSH_ATTEMPTS_MAX, PUSH_READ_BYTES, PUSH_RETRY_MS_FIRST } from '../base/limits.ts'
import type { Report } from '../base/report.ts'
import { isCid, quoted } from './answers.ts'
import type { Answer, KuboClient } from './kubo-client.ts'

export interface PushOptions {
  /** Path of the CAR; it names these roots. */
  readonly car: string
  readonly roots: readonly CID[]
  readonly report: Report
  readonly signal?: AbortSignal | undefined
  readonly retryMsFirst?: number
}

const COMMAND = 'dag/import'

/** One block of no bytes, which is its own root (ipld.io/specs/transport/car/carv1). */
const EMPTY_HASH = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
const EMPTY_CAR = Buffer.from(`3aa265726f6f747381d82a58250001551220${EMPTY_HASH}6776657273696f6e012401551220${EMPTY_HASH}`, 'hex')

/** Whether CARs are taken there, asked with the smallest one: before gigabytes travel, and before an image is packed. @throws as `pushCar` */
export async function checkTarget (kubo: KuboClient, signal?: AbortSignal): Promise<void> {
  const upload = { name: 'empty.car', size: EMPTY_CAR.byteLength, stream: async function * () { yield EMPTY_CAR }, onBytes: () => {} }
  await kubo.send(COMMAND, [['pin-roots', 'false']], upload, signal)
}

/** @throws PIN_REFUSED, PIN_FAILED, PIN_UNREACHABLE after the last attempt; the signal's reason */
export async function pushCar (kubo: KuboClient, options: PushOptions): Promise<void> {
  const { car, roots, report, signal } = options
  const { size } = await stat(car)
  const item = `to ${kubo.name}`
  let pauseMs = options.retryMsFirst ?? PUSH_RETRY_MS_FIRST
  for (let attempt = 1; ; attempt++) {
    let sent = 0
    report({ event: 'begin', item, phase: 'upload', total: size })
    const onBytes = (bytes: number): void => {
      sent += bytes
      report({ event: 'advance', item, bytes })
    }
    try {
      const stream = (): AsyncIterable<Uint8Array> => createReadStream(car, { highWaterMark: PUSH_READ_BYTES })
      const answers = await kubo.send(COMMAND, [['pin-roots', 'true']], { name: basename(car), size, stream, onBytes }, signal)
      for (const root of roots) await requirePin(kubo, root, answers, signal)
      report({ event: 'end', item, text: `${(size / 1e6).toFixed(1)} MB, ${roots.length === 1 ? 'root' : `${roots.length} roots`} pinned` })
      return
    } catch (error) {
      if (!hasCode(error, 'PIN_UNREACHABLE')) throw error
      const after = `${messageOf(error)}, after ${sent} of ${size} bytes`
      if (attempt === PUSH_ATTEMPTS_MAX) {
        throw new SnapshotterError('PIN_UNREACHABLE', `${after}, in the last of ${attempt} attempts; nothing is announced`, {}, { cause: error })
      }
      report({ event: 'note', text: `${after}: the whole CAR is sent again (${attempt + 1} of ${PUSH_ATTEMPTS_MAX})` })
      await sleep(pauseMs, signal)
      pauseMs *= 2
    }
  }
}

/** What the import did not say of a root is asked for: not every RPC pins while it imports. */
async function requirePin (kubo: KuboClient, root: CID, answers: readonly Answer[], signal: AbortSignal | undefined): Promise<void> {
  const told = answers.map(({ Root: said }) => said as { Cid?: { '/'?: unknown }, PinErrorMsg?: unknown } | undefined)
    .find((said) => isCid(said?.Cid?.['/'], root))
  if (told !== undefined) {
    const { PinErrorMsg: why = '' } = told
    if (why === '') return
    const said = quoted(typeof why === 'string' ? why : 'no reason')
    throw new SnapshotterError('PIN_FAILED', `${kubo.name} took the CAR and did not pin ${root.toString()}: ${said}`)
  }
  const pinned = await kubo.call('pin/add', [['arg', root.toString()]], signal, PUSH_ANSWER_MS)
  const isPinned = pinned.some(({ Pins: pins }) => Array.isArray(pins) && pins.some((pin) => isCid(pin, root)))
  if (!isPinned) throw new SnapshotterError('PIN_FAILED', `${kubo.name} took the CAR and does not say that ${root.toString()} is pinned`)
}
