// The lines behind which sources are put.

export interface Link {
  readonly name: string
  readonly rttMs: number
  readonly bytesPerSecond: number
}

const UNPACED = 1e12

export const LINKS: readonly Link[] = [
  { name: '20ms-10MB', rttMs: 20, bytesPerSecond: 10e6 },
  { name: '20ms-100MB', rttMs: 20, bytesPerSecond: 100e6 },
  { name: '80ms-10MB', rttMs: 80, bytesPerSecond: 10e6 },
  { name: '0ms-unpaced', rttMs: 0, bytesPerSecond: UNPACED }
]
