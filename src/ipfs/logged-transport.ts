// Tells the log of every request to a gateway once it ended: where, how it was answered, how many bytes and how long. The
// line carries the id of the call that it was for (base/call-id.ts); the request itself does not: gateways need not know.
import type { Clock } from '../base/clock.ts'
import { asSnapshotterError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { GatewayTransport, TransportAnswer } from './gateway-transport.ts'

export function loggedTransport (http: GatewayTransport, { clock, log }: { readonly clock: Clock, readonly log: Log }): GatewayTransport {
  const get: GatewayTransport['get'] = async (path, ...rest) => {
    const asked = clock.monotonicMs()
    const about = (): object => ({ source: http.name, path, ms: Math.round(clock.monotonicMs() - asked) })
    try {
      const answer = await http.get(path, ...rest)
      return dropping(answer, () => { log.debug({ ...about(), status: answer.status, bytes: answer.bytes }, 'gateway request') })
    } catch (error) {
      log.debug({ ...about(), error: asSnapshotterError(error).line }, 'gateway request failed')
      throw error
    }
  }
  return { name: http.name, get, close: async () => { await http.close() } }
}

/** Every answer is dropped in the end, whatever became of it. */
function dropping (answer: TransportAnswer, onDrop: () => void): TransportAnswer {
  return {
    status: answer.status,
    headers: answer.headers,
    length: answer.length,
    contentType: answer.contentType,
    get bytes () { return answer.bytes },
    next: async () => await answer.next(),
    finish: async () => { await answer.finish() },
    drop: async () => {
      onDrop()
      await answer.drop()
    }
  }
}
