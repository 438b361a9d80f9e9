// The man page, in the troff of man(7).
import type { Option } from 'commander'
import { type CommandFacts, operandText, type ProgramFacts } from './commands.ts'

const FILES: ReadonlyArray<readonly [path: string, what: string]> = [
  ['/etc/ipfs-snapshotter/config.toml', 'settings; every command takes --config FILE, or IPFS_SNAPSHOTTER_CONFIG in its environment, instead'],
  ['/run/ipfs-snapshotter/snapshotter.sock', "what containerd's proxy_plugins name"],
  ['/var/lib/ipfs-snapshotter', 'cache and state'],
  ['/var/cache/ipfs-snapshotter', 'compiled JavaScript; may be removed at any time'],
  ['/usr/share/doc/ipfs-snapshotter', 'README, and what it leads to']
]

/** `date` is a day, such as 2026-01-31. */
export function manual (program: ProgramFacts, date: string): string {
  const { name, summary, version, options, commands } = program
  return [
    `.TH ${name.toUpperCase()} 1 ${date} "${name} ${version}" "User Commands"`,
    '.SH NAME', `${text(name)} \\- containerd snapshotter that runs OCI images from IPFS`,
    '.SH SYNOPSIS', `.B ${text(name)}`, '.I COMMAND', '[options] [arguments]',
    '.SH DESCRIPTION', text(summary),
    'References are ipfs://CID[@sha256:DIGEST], https://GATEWAY/ipfs/CID, https://CID.ipfs.GATEWAY/ and ipfs:0/CID[:TAG][@DIGEST].',
    '.SH OPTIONS', ...options.flatMap(optionLines),
    '.SH COMMANDS', ...commands.filter(({ below }) => below.length === 0).flatMap(commandLines),
    '.SH EXIT STATUS', '.TP', '.B 0', 'done; stdout carries the result and nothing else', '.TP', '.B 1',
    'failed; one line on stderr says why: CODE: what, on what (sources tried); hint', '.TP', '.B 2', 'wrong usage',
    '.SH FILES', ...FILES.flatMap(([path, what]) => ['.TP', `.I ${text(path)}`, text(what)]),
    '.SH SEE ALSO', '.BR containerd (8),', '.BR ctr (8),', '.BR systemctl (1)', ''
  ].join('\n')
}

function commandLines ({ words, summary, operands, options }: CommandFacts): string[] {
  const title = [...words, ...operands.map(operandText)].join(' ')
  return [`.SS ${text(title)}`, text(summary), ...operands.flatMap((operand) => ['.TP', `.I ${text(operandText(operand))}`, text(operand.description)]),
    ...options.flatMap(optionLines)]
}

function optionLines (option: Option): string[] {
  return ['.TP', `.B ${text(option.flags)}`, text(optionSummary(option))]
}

/** With its choices and default, as the help prints them. */
export function optionSummary ({ description, argChoices, defaultValue, defaultValueDescription }: Option): string {
  const extra: string[] = []
  if (argChoices !== undefined) extra.push(`one of ${argChoices.join(', ')}`)
  const isShown = defaultValue !== undefined && !(Array.isArray(defaultValue) && defaultValue.length === 0) && typeof defaultValue !== 'boolean'
  if (isShown) extra.push(`default: ${defaultValueDescription ?? String(defaultValue)}`)
  return extra.length === 0 ? description : `${description} (${extra.join('; ')})`
}

/** Nothing of it is taken for a request or an escape, and hyphens can be copied. */
function text (plain: string): string {
  return plain.replaceAll('\\', '\\e').replaceAll('-', '\\-').replace(/^(?=[.'])/, '\\&')
}
