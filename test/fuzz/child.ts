// Fuzzes one target in a process of its own, which may hang, run out of memory or die: the input that runs stands in the file
// CURRENT, behind its number, so that whoever watches knows it. Arguments: TARGET SEED RUNS SECONDS CURRENT RESULT.
import { openSync, writeFileSync, writeSync } from 'node:fs'
import { Coverage } from './coverage.ts'
import { Fuzzer, nameOf } from './fuzzer.ts'
import { Random } from './random.ts'
import { keptInputs } from './target.ts'

const [name = '', seed = '1', runs = '0', seconds = '0', current = '', result = ''] = process.argv.slice(2)

const coverage = new Coverage(name.startsWith('bait') ? '/test/fuzz/targets/' : '/src/')
const { TARGETS } = await import('./targets.ts')
const make = TARGETS[name]
if (make === undefined) throw new Error(`there is no target ${name}`)
const target = await make()
coverage.take(true)
const loaded = coverage.blocks

const file = openSync(current, 'w+')
const head = Buffer.alloc(8)
let number = 0
const ends = performance.now() + Number(seconds) * 1000
const fuzzer = new Fuzzer({
  target,
  coverage,
  random: new Random(Number(seed)),
  kept: [...keptInputs(name).values()],
  runs: Number(runs) > 0 ? Number(runs) : Infinity,
  over: () => performance.now() > ends,
  before: (input) => {
    head.writeUInt32LE(++number, 0)
    head.writeUInt32LE(input.byteLength, 4)
    writeSync(file, Buffer.concat([head, input]), 0, 8 + input.byteLength, 0)
  }
})
process.on('uncaughtException', fuzzer.onStray).on('unhandledRejection', fuzzer.onStray)
const { executions, blocks, outcomes, findings, pool } = await fuzzer.run()
writeFileSync(result, JSON.stringify({
  executions,
  blocks: blocks - loaded, // what merely loading the modules runs is not the target's
  outcomes: Object.fromEntries(outcomes),
  findings: findings.map(({ what, input }) => ({ what, name: nameOf(input), hex: input.toString('hex') })),
  pool: pool.map((input) => input.toString('hex'))
}))
process.exit(0)
