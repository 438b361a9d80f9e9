// `pin ls|status|rm`: what the pinning services of the configuration hold. Options and output are those of `ipfs pin remote`, but that
// without --service all services are meant.
import { Command, InvalidArgumentError } from 'commander'
import { SnapshotterError } from '../base/errors.ts'
import { loadConfig } from '../config/load.ts'
import { isCid } from '../pinning/answers.ts'
import { PIN_STATUSES, type PinningService, type PinFilter, type RemotePin } from '../pinning/service.ts'
import { parseCid } from '../verify/cid.ts'
import { openServices } from './deliver.ts'
import { repeated } from './flag-values.ts'

interface PinFlags { readonly service: string[], readonly config?: string, readonly json?: boolean }
interface ListFlags extends PinFlags { readonly name?: string, readonly cid?: string[], readonly status: Array<RemotePin['status']> }

/** One line; the JSON of it, too. */
interface Line {
  readonly service: string
  readonly cid: string
  readonly status: RemotePin['status'] | 'removed'
  readonly name: string
  readonly requestid: string
  readonly created: string
  readonly details: string
}

export function pinCommand (): Command {
  const command = new Command('pin').description('what the pinning services of the configuration hold ([[pinning]])')
  const of = (name: string, description: string): Command => command.command(name)
    .description(description)
    .option('--service <name>', 'this service, instead of all (repeats)', repeated, [])
    .option('--config <file>', 'settings (TOML)')
    .option('--json', 'print one JSON object')
    .exitOverride().showHelpAfterError()
  of('ls', 'list pins, newest first: service, CID, status, name')
    .option('--status <list>', 'queued, pinning, pinned, failed; with commas', statuses, ['pinned'])
    .option('--cid <list>', 'pins of these CIDs, with commas', (text) => text.split(',').map(cidText))
    .option('--name <text>', 'pins of exactly this name')
    .action(async (flags: ListFlags) => {
      const { status, cid, name } = flags
      print(flags, await linesOf(services(flags), { statuses: status, name, ...cid === undefined ? {} : { cids: cid } }))
    })
  of('status', 'what each service says of a CID')
    .argument('<cid>', 'CID of a root', cidText)
    .action(async (cid: string, flags: PinFlags) => {
      const lines = await linesOf(services(flags), { cids: [cid], statuses: PIN_STATUSES })
      if (lines.length === 0) throw unknown(cid, services(flags))
      print(flags, lines)
    })
  of('rm', 'remove every pin of these CIDs')
    .argument('<cid...>', 'CIDs of roots', (text, all: string[] | undefined) => [...all ?? [], cidText(text)])
    .action(async (cids: string[], flags: PinFlags) => {
      const lines: Line[] = []
      try {
        await remove(services(flags), cids, lines)
      } finally {
        if (lines.length > 0) print(flags, lines) // also what was removed before a service failed
      }
    })
  return command
}

function services ({ config, service }: PinFlags): PinningService[] {
  return openServices(loadConfig(config), service)
}

async function linesOf (all: readonly PinningService[], filter: PinFilter): Promise<Line[]> {
  return (await Promise.all(all.map(async (service) => (await service.list(filter)).map((pin) => lineOf(service, pin))))).flat()
}

/** All are looked for before one is removed: a CID that no service knows is likelier to be mistyped than gone. */
async function remove (all: readonly PinningService[], cids: readonly string[], lines: Line[]): Promise<void> {
  const found = await Promise.all(all.map(async (service) => ({ service, pins: await service.list({ cids, statuses: PIN_STATUSES }) })))
  const missing = cids.find((cid) => !found.some(({ pins }) => pins.some((pin) => isCid(pin.cid, parseCid(cid)))))
  if (missing !== undefined) throw unknown(missing, all)
  for (const { service, pins } of found) {
    for (const pin of pins) {
      await service.remove(pin.requestId)
      lines.push({ ...lineOf(service, pin), status: 'removed' })
    }
  }
}

function unknown (cid: string, all: readonly PinningService[]): SnapshotterError {
  return new SnapshotterError('NOT_FOUND', `${cid} is pinned by none of ${all.map(({ name }) => name).join(', ')}, in no state`)
}

function lineOf ({ name: service }: PinningService, { cid, status, name, requestId, created, details }: RemotePin): Line {
  return { service, cid, status, name, requestid: requestId, created: created.toISOString(), details }
}

function print ({ json }: PinFlags, lines: readonly Line[]): void {
  if (json === true) process.stdout.write(`${JSON.stringify({ pins: lines })}\n`)
  else {
    for (const { service, cid, status, name, details } of lines) {
      process.stdout.write(`${[service, cid, status, name, ...details === '' ? [] : [details]].map(printable).join('\t')}\n`)
    }
  }
}

/** What a service wrote does not drive the terminal. */
function printable (text: string): string {
  return text.replace(/\p{C}/gu, (character) => JSON.stringify(character).slice(1, -1).replace(character, '?'))
}

function statuses (text: string): string[] {
  const all = text.split(',')
  if (all.some((one) => !PIN_STATUSES.some((known) => known === one))) throw new InvalidArgumentError(`Some of ${PIN_STATUSES.join(', ')} are needed.`)
  return all
}

function cidText (text: string): string {
  try {
    return parseCid(text.replace(/^(?:ipfs:\/\/|\/ipfs\/)/, '').replace(/@sha256:[0-9a-f]{64}$/, '')).toString()
  } catch {
    throw new InvalidArgumentError('A CID is needed.')
  }
}
