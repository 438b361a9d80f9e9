// Durations and sizes as people write them in the config file: "30s", "250ms", "20GiB", "512MB".
import { SnapshotterError } from '../base/errors.ts'

const DURATIONS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }
const SIZES: Readonly<Record<string, number>> = {
  B: 1, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40
}

/** Milliseconds of "250ms", "10s", "2m" or "1h". @throws CONFIG_INVALID */
export function parseDuration (text: string): number {
  return parse(text, DURATIONS, 'duration like "10s"')
}

/** Bytes of "20GiB", "512MB" or "4096B". @throws CONFIG_INVALID */
export function parseSize (text: string): number {
  return parse(text, SIZES, 'size like "20GiB"')
}

/** Bytes per second of "20MB/s" or "512KiB/s". @throws CONFIG_INVALID */
export function parseRate (text: string): number {
  const size = /^(.*[A-Za-z])\s*\/\s*s$/.exec(text)?.[1]
  if (size === undefined) throw new SnapshotterError('CONFIG_INVALID', `${JSON.stringify(text)} is no rate like "20MB/s"`)
  return parseSize(size)
}

function parse (text: string, units: Readonly<Record<string, number>>, wanted: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)$/.exec(text)
  const unit = units[match?.[2] ?? '']
  if (unit === undefined) throw new SnapshotterError('CONFIG_INVALID', `${JSON.stringify(text)} is no ${wanted}`)
  return Math.round(Number(match?.[1]) * unit)
}
