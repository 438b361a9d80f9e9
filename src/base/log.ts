// Logs are events with fields: a constant lower-case message, data in fields, on stderr. Never tokens or whole URLs. Each
// line names the call it belongs to, if any: see call-id.ts.
import pino from 'pino'
import { currentCall } from './call-id.ts'

export interface Log {
  readonly debug: (fields: object, event: string) => void
  readonly info: (fields: object, event: string) => void
  readonly warn: (fields: object, event: string) => void
  readonly error: (fields: object, event: string) => void
}

export function createLog (level: 'debug' | 'info' | 'warn' | 'error' | 'silent' = 'info'): Log {
  const mixin = (): object => {
    const call = currentCall()
    return call === undefined ? {} : { call }
  }
  const logger = pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, mixin }, pino.destination({ dest: 2, sync: true }))
  return {
    debug: (fields, event) => { logger.debug(fields, event) },
    info: (fields, event) => { logger.info(fields, event) },
    warn: (fields, event) => { logger.warn(fields, event) },
    error: (fields, event) => { logger.error(fields, event) }
  }
}

export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
