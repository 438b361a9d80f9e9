// `doctor`: says what a node lacks, before a user meets it. Exits with 1 when something is missing.
import { Command } from 'commander'
import { SnapshotterError } from '../base/errors.ts'
import { loadConfig } from '../config/load.ts'
import type { Check } from '../daemon/doctor.ts'

export function doctorCommand (): Command {
  return new Command('doctor')
    .description('checks kernel, FUSE, containerd, daemon and sources')
    .option('--config <file>', 'settings (TOML)')
    .option('--snapshotter <name>', 'name of this snapshotter in containerd', 'ipfs')
    .option('--json', 'print one JSON object')
    .action(async (options: { readonly config?: string, readonly snapshotter: string, readonly json?: boolean }) => {
      const config = loadConfig(options.config)
      const { examine } = await import('../daemon/doctor.ts')
      const checks = await examine(config, options.snapshotter)
      const failed = checks.filter(({ ok, needed }) => !ok && needed)
      process.stdout.write(options.json === true
        ? `${JSON.stringify({ ok: failed.length === 0, checks })}\n`
        : checks.map(describe).join(''))
      if (failed.length > 0) {
        throw new SnapshotterError('ENVIRONMENT', `${failed.length} of ${checks.length} checks failed: ${failed.map(({ name }) => name).join(', ')}`)
      }
    })
}

function describe ({ name, ok, needed, detail, hint }: Check): string {
  return `${ok ? 'ok  ' : needed ? 'FAIL' : 'note'} ${name}: ${detail}${hint === '' ? '' : `; ${hint}`}\n`
}
