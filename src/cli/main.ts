// The entry point: turns any error into one plain line on stderr and an exit code
// (0 ok, 1 failed, 2 usage; a signal's own). stdout carries only results.
import { CommanderError } from 'commander'
import { asSnapshotterError } from '../base/errors.ts'
import { program } from './commands.ts'
import { dieOf, endWithOutput, Interrupted } from './ending.ts'

const USAGE = 2

endWithOutput()
try {
  await (await program(process.argv[2])).parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exit(error.exitCode === 0 ? 0 : USAGE)
  }
  const failure = asSnapshotterError(error)
  process.stderr.write(`${failure.line}\n`)
  if (failure instanceof Interrupted) dieOf(failure.signal)
  process.exit(1)
}
