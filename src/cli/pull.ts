// `pull`: asks the daemon to make an image ready in containerd, lazily.
import { Command } from 'commander'
import { join } from 'node:path'
import { progressEventOf } from '../base/report.ts'
import { loadConfig, overrideSources } from '../config/load.ts'
import type { PullRequest } from '../daemon/pull-request.ts'
import { callControl } from '../http/control-client.ts'
import { interruptible } from './ending.ts'
import { repeated } from './flag-values.ts'
import { progressFor, type ProgressFlags, withProgress } from './progress.ts'

interface PullOptions extends ProgressFlags {
  readonly config?: string
  readonly namespace: string
  readonly name?: string
  readonly snapshotter: string
  readonly gateway: string[]
  readonly platform?: string
  readonly json?: boolean
}

const GO_ON = 'the daemon takes back what it made of the image in containerd; layers that were open stay in the cache, the same command goes on with them'

export function pullCommand (): Command {
  return withProgress(new Command('pull')
    .description('pulls an image by CID into containerd: its layers stay remote until they are read')
    .argument('<reference>', 'ipfs://CID[@sha256:…], https://GATEWAY/ipfs/CID, …')
    .option('--config <file>', 'settings (TOML)')
    .option('--namespace <name>', 'containerd namespace', 'default')
    .option('--name <name>', 'name of the image in containerd, stored as it is: nerdctl finds a bare CID as ipfs://CID, ' +
      'docker.io/library/x:latest as x (default: a spelling of the reference that every client accepts)')
    .option('--snapshotter <name>', 'name of this snapshotter in containerd', 'ipfs')
    .option('--gateway <url>', 'trustless gateway, instead of the configured sources (repeats)', repeated, [])
    .option('--platform <platform>', 'os/architecture[/variant] (default: this machine)')
    .option('--json', 'print one JSON object'))
    .action(async (reference: string, options: PullOptions) => {
      const config = loadConfig(options.config)
      overrideSources(config, options.gateway)
      const request: PullRequest = {
        reference,
        namespace: options.namespace,
        name: options.name ?? null,
        snapshotter: options.snapshotter,
        gateways: options.gateway,
        platform: options.platform ?? null
      }
      const progress = progressFor(options)
      try {
        const onEvent = (event: object): void => {
          const known = progressEventOf(event)
          if (known !== null) progress.report(known)
        }
        const socket = join(config.state, 'control.sock')
        const result = await interruptible(GO_ON, async (signal) => await callControl(socket, '/pull', request, onEvent, signal))
        progress.finish()
        process.stdout.write(options.json === true ? `${JSON.stringify(result)}\n` : `${(result as { readonly name: string }).name}\n`)
      } finally {
        progress.finish()
      }
    })
}
