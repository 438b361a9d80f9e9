// What inspect and verify share: their options, and the way from those to the library's.
import { Command } from 'commander'
import { loadConfig, overrideSources } from '../config/load.ts'
import type { ImageOptions } from '../library/options.ts'
import { interruptible } from './ending.ts'
import { repeated } from './flag-values.ts'
import { type ProgressFlags, withProgress } from './progress.ts'

export interface ImageFlags extends ProgressFlags {
  readonly config?: string | undefined
  readonly gateway: string[]
  readonly car: string[]
  readonly ignoreNamedGateway?: true | undefined
  readonly platform?: string | undefined
  readonly json?: true | undefined
}

export function imageCommand (name: string, description: string): Command {
  return withProgress(new Command(name)
    .description(description)
    .argument('<reference>', 'ipfs://CID[@sha256:…], https://GATEWAY/ipfs/CID, …')
    .option('--config <file>', 'settings (TOML)')
    .option('--gateway <url>', 'trustless gateway, instead of the configured sources (repeats)', repeated, [])
    .option('--car <file>', 'CAR file to read, instead of the configured sources (repeats)', repeated, [])
    .option('--ignore-named-gateway', 'do not ask the gateway that the reference names')
    .option('--platform <platform>', 'os/architecture[/variant] (default: linux on this machine)')
    .option('--json', 'print one JSON object'))
}

/** Runs `work` with what the flags choose until somebody stops it. @throws CONFIG_INVALID, and what `work` throws. */
export async function withImageOptions<Result> (flags: ImageFlags, work: (options: ImageOptions) => Promise<Result>): Promise<Result> {
  const { sources } = overrideSources(loadConfig(flags.config), flags.gateway, flags.car)
  const { platform, ignoreNamedGateway } = flags
  return await interruptible('nothing of the image is kept, the same command starts over', async (signal) =>
    await work({ sources, platform, ignoreNamedGateway, signal }))
}
