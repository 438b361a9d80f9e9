// How values of options are read, where several commands take the same kind.
import { InvalidArgumentError } from 'commander'
import { parseDuration } from '../config/units.ts'

/** Of an option that may be given again: all values, in order. */
export function repeated (value: string, all: readonly string[]): string[] {
  return [...all, value]
}

/** Reads a duration into milliseconds; `wanted` is said of anything else. */
export function duration (wanted: string): (text: string) => number {
  return (text) => {
    try {
      return parseDuration(text)
    } catch {
      throw new InvalidArgumentError(wanted)
    }
  }
}
