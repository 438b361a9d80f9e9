// The commands by name, and the program that they make together. Loaded by name: publishing loads a lot that a pull must not wait for.
import { Command } from 'commander'
import { readFileSync } from 'node:fs'

const LOADERS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.ts')).serveCommand(),
  pull: async () => (await import('./pull.ts')).pullCommand(),
  publish: async () => (await import('./publish.ts')).publishCommand(),
  pin: async () => (await import('./pin.ts')).pinCommand(),
  gateway: async () => (await import('./gateway.ts')).gatewayCommand(),
  profile: async () => (await import('./profile.ts')).profileCommand(),
  inspect: async () => (await import('./inspect.ts')).inspectCommand(),
  verify: async () => (await import('./verify.ts')).verifyCommand(),
  status: async () => (await import('./status.ts')).statusCommand(),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(),
  setup: async () => (await import('./setup.ts')).setupCommand()
}

/** With the named command alone where there is one of that name, else with all. */
export async function program (name = ''): Promise<Command> {
  const all = new Command('ipfs-snapshotter')
    .description('Runs OCI images from IPFS: pulled lazily by CID, every byte verified.')
    .version(version(), '-V, --version', 'the version of this program')
    .exitOverride()
    .showHelpAfterError()
  const named = LOADERS[name]
  for (const load of named === undefined ? Object.values(LOADERS) : [named]) {
    all.addCommand((await load()).exitOverride().showHelpAfterError())
  }
  return all
}

function version (): string {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { readonly version: string }
  return manifest.version
}
