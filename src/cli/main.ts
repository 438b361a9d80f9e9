// The entry point: names the commands and turns any error into one plain line on stderr and an exit code
// (0 ok, 1 failed, 2 usage; a signal's own). stdout carries only results.
import { Command, CommanderError } from 'commander'
import { asSnapshotterError } from '../base/errors.ts'
import { dieOf, endWithOutput, Interrupted } from './ending.ts'

const USAGE = 2

// Loaded by name: publishing loads a lot that a pull must not wait for.
const LOADERS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.ts')).serveCommand(),
  pull: async () => (await import('./pull.ts')).pullCommand(),
  publish: async () => (await import('./publish.ts')).publishCommand(),
  gateway: async () => (await import('./gateway.ts')).gatewayCommand(),
  profile: async () => (await import('./profile.ts')).profileCommand(),
  inspect: async () => (await import('./inspect.ts')).inspectCommand(),
  verify: async () => (await import('./verify.ts')).verifyCommand(),
  status: async () => (await import('./status.ts')).statusCommand(),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(),
  setup: async () => (await import('./setup.ts')).setupCommand()
}

endWithOutput()
const program = new Command('ipfs-snapshotter')
  .description('Runs OCI images from IPFS: pulled lazily by CID, every byte verified.')
  .exitOverride()
  .showHelpAfterError()

const named = LOADERS[process.argv[2] ?? '']
for (const load of named === undefined ? Object.values(LOADERS) : [named]) {
  program.addCommand((await load()).exitOverride().showHelpAfterError())
}

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exit(error.exitCode === 0 ? 0 : USAGE)
  }
  const failure = asSnapshotterError(error)
  process.stderr.write(`${failure.line}\n`)
  if (failure instanceof Interrupted) dieOf(failure.signal)
  process.exit(1)
}
