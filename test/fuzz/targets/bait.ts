// A parser with known faults behind checks that only coverage leads through: shows that the fuzzer finds an exception, a broken
// property, memory without bound, a promise that nobody waits for, work without end and a full heap.
import { SnapshotterError } from '../../../src/base/errors.ts'
import { Broken, type Target } from '../target.ts'

export function makeBait (): Target {
  return { seeds: [Buffer.alloc(8)], tokens: ['B', 'A', 'I', 'T'], run: parse, bytesMax: 64 }
}

/** Falls with its first input. */
export function makeLoopBait (): Target {
  return { seeds: [Buffer.from('loop')], run: () => { for (;;); } }
}

/** Falls with its first input: more heap than there is. */
export function makeHeapBait (): Target {
  const held: unknown[] = []
  return { seeds: [Buffer.from('heap')], run: () => { for (;;) held.push(Array.from({ length: 1024 }, (_, at) => ({ at }))) } }
}

function parse (input: Buffer): void {
  if (input[0] === 0x42) {
    if (input[1] === 0x41) {
      if (input[2] === 0x49) {
        if (input[3] === 0x54) fall(input[4] ?? 0)
      }
    }
  }
  throw new SnapshotterError('INVALID_ARGUMENT', 'no bait')
}

let memory = 400 * 1024 * 1024

function fall (trap: number): void {
  switch (trap) {
    case 0: throw new TypeError('bait: undefined is not a function')
    case 1: throw new Broken('bait: 1 | 2')
    case 0xff: void Promise.reject(new RangeError('bait: nobody waits')); break
    case 0x41:
      Buffer.alloc(memory, 1)
      memory = 0 // once: it takes its time
  }
}
