// `status --debug` for people: what waits, the oldest first, each with what it waits for.
import type { DebugReport, WaitingRead } from '../daemon/debug.ts'

const LINES_MAX = 50 // of each kind

export function describeDebug (report: DebugReport): string {
  const { calls, waiting, supplies, sources, gate, proofs, background } = report
  const held = `${gate.foreground} fetches for readers, ${gate.held} background requests held back for them`
  return [
    ...section('call', calls.map(({ id, what, ms }) => `${what} (${id}), ${seconds(ms)}`)),
    ...section('waiting', waiting.map(describeWaiting)),
    ...sources.flatMap(({ name, active, queued }) => [
      `source ${name}: ${active.length} requests under way, ${queued.foreground} queued for readers, ${queued.background} in the background`,
      ...section('  asks for', active.map(({ what, purpose, ms }) => `${what} (${purpose}), ${seconds(ms)}`))
    ]),
    `gate: ${held}`,
    `supplies: ${supplies.bytes} bytes not stored yet, ${supplies.rejected} refused as wrong`,
    `proofs: ${proofs.proven} proven, ${proofs.lied} lied, ${proofs.waiting} waiting, reading ${proofs.running.join(', ') || 'none'}`,
    `background fetch: ${background.layer === null ? 'idle' : `completing ${background.layer}`}, ${background.done} layers done`
  ].map((line) => `${line}\n`).join('')
}

function describeWaiting ({ kind, layer, paths, firstChunk, lastChunk, ms }: WaitingRead): string {
  const what = paths.length === 0 ? `chunks ${firstChunk} to ${lastChunk}` : paths.map((path) => JSON.stringify(path)).join(', ')
  return `${kind} of ${what} in ${layer ?? 'a file that is not mounted'}, ${seconds(ms)}`
}

function section (title: string, lines: readonly string[]): string[] {
  const more = lines.length - LINES_MAX
  return [...lines.slice(0, LINES_MAX).map((line) => `${title} ${line}`), ...more > 0 ? [`${title}: ${more} more`] : []]
}

function seconds (ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
