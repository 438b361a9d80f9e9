// `pull`: asks the daemon to make an image ready in containerd, lazily.
import { Command } from 'commander'
import { join } from 'node:path'
import { loadConfig, overrideSources } from '../config/load.ts'
import type { PullRequest } from '../daemon/pull-request.ts'
import { callControl } from '../http/control-client.ts'

interface PullOptions {
  readonly config?: string
  readonly namespace: string
  readonly name?: string
  readonly snapshotter: string
  readonly gateway: string[]
  readonly platform?: string
  readonly json?: boolean
}

export function pullCommand (): Command {
  return new Command('pull')
    .description('pulls an image by CID into containerd: its layers stay remote until they are read')
    .argument('<reference>', 'ipfs://CID[@sha256:…], https://GATEWAY/ipfs/CID, …')
    .option('--config <file>', 'settings (TOML)')
    .option('--namespace <name>', 'containerd namespace', 'default')
    .option('--name <name>', 'name of the image in containerd, stored as it is: nerdctl finds a bare CID as ipfs://CID, ' +
      'docker.io/library/x:latest as x (default: a spelling of the reference that every client accepts)')
    .option('--snapshotter <name>', 'name of this snapshotter in containerd', 'ipfs')
    .option('--gateway <url>', 'trustless gateway, instead of the configured sources (repeats)', (url, all: string[]) => [...all, url], [])
    .option('--platform <platform>', 'os/architecture[/variant] (default: this machine)')
    .option('--json', 'print one JSON object')
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
      const events = describeEvents(process.stderr.isTTY)
      const result = await callControl(join(config.state, 'control.sock'), '/pull', request, (event) => { process.stderr.write(events(event)) })
      process.stdout.write(options.json === true ? `${JSON.stringify(result)}\n` : `${(result as { readonly name: string }).name}\n`)
    })
}

/** On a terminal a short line for each step, elsewhere one JSON line per event. */
function describeEvents (terminal: boolean): (event: object) => string {
  if (!terminal) return (event) => `${JSON.stringify(event)}\n`
  return (event) => {
    const { type, ...fields } = event as { readonly type: string }
    const words = Object.values(fields).map((value) => String(value).replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+$/, '$1'))
    return `${type.padEnd(9)} ${words.join(' ')}\n`
  }
}
