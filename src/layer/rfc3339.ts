// RFC 3339 times as TOCs write them, to the nanosecond and over all years from 0000 to 9999. Date alone loses nanoseconds.

export interface Instant { readonly seconds: number, readonly nanoseconds: number }

const PATTERN = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))$/

/** Null when `text` is no such time; leap seconds are none. */
export function parseRfc3339 (text: string): Instant | null {
  const match = PATTERN.exec(text)
  if (match === null) return null
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [number, number, number, number, number, number]
  const [offsetHours, offsetMinutes] = [Number(match[9] ?? 0), Number(match[10] ?? 0)]
  if (hour > 23 || minute > 59 || second > 59 || offsetHours > 23 || offsetMinutes > 59) return null
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return null // 30 February
  const offset = (offsetHours * 60 + offsetMinutes) * (match[8] === '-' ? -60 : 60)
  return {
    seconds: date.getTime() / 1000 + hour * 3600 + minute * 60 + second - offset,
    nanoseconds: Number((match[7] ?? '').padEnd(9, '0'))
  }
}

/** The shortest spelling in UTC: no fraction when there is none, else all nine digits without trailing zeros. */
export function formatRfc3339 ({ seconds, nanoseconds }: Instant): string {
  const whole = new Date(seconds * 1000).toISOString().slice(0, 19)
  if (nanoseconds === 0) return `${whole}Z`
  return `${whole}.${String(nanoseconds).padStart(9, '0').replace(/0+$/, '')}Z`
}
