// Completions for bash and fish: commands, their options, the choices of these, and files everywhere else.
import type { Option } from 'commander'
import type { ProgramFacts } from './commands.ts'
import { optionSummary } from './manual.ts'

/** For bash-completion's folder, where it is loaded by the program's name. */
export function bashCompletion ({ name, commands, options }: ProgramFacts): string {
  const first = commands.filter(({ words }) => words.length === 1).map(({ words }) => words[0])
  return `# bash completion of ${name}
_${id(name)} () {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} words='' key="\${COMP_WORDS[1]-}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='help ${[...first, ...options.flatMap(flags)].join(' ')}'
  else
    case "$key" in
${commands.filter(({ below }) => below.length > 0).map(({ words, below }) =>
    `      ${words.join(' ')}) if [ "$COMP_CWORD" -eq 2 ]; then words='${below.join(' ')}'; else key="$key \${COMP_WORDS[2]}"; fi ;;`).join('\n')}
    esac
    case "$key $before" in
${commands.flatMap((command) => command.options.filter(hasChoices).flatMap((option) =>
    flags(option).map((flag) => `      '${command.words.join(' ')} ${flag}') words='${(option.argChoices ?? []).join(' ')}' ;;`))).join('\n')}
      *) case "$key" in
${commands.filter(({ below }) => below.length === 0).map(({ words, options }) =>
    `        '${words.join(' ')}') words='${options.flatMap(flags).join(' ')}' ;;`).join('\n')}
      esac ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o default -F _${id(name)} ${name}
`
}

export function fishCompletion ({ name, commands, options }: ProgramFacts): string {
  const lines = [`# fish completion of ${name}`]
  for (const { words: [word = ''], summary } of commands.filter(({ words }) => words.length === 1)) {
    lines.push(`complete -c ${name} -n __fish_use_subcommand -f -a ${word} -d ${quote(summary)}`)
  }
  lines.push(...options.map((option) => `complete -c ${name} -n __fish_use_subcommand ${fishOption(option)}`))
  for (const { words, options, below } of commands) {
    const seen = words.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ')
    if (below.length > 0) lines.push(`complete -c ${name} -n ${quote(seen)} -f -a ${quote(below.join(' '))}`)
    else lines.push(...options.map((option) => `complete -c ${name} -n ${quote(seen)} ${fishOption(option)}`))
  }
  return `${lines.join('\n')}\n`
}

function fishOption (option: Option): string {
  const value = hasChoices(option) ? ` -x -a ${quote((option.argChoices ?? []).join(' '))}` : takesValue(option) ? ' -r' : ''
  const short = option.short === undefined ? '' : ` -s ${option.short.slice(1)}`
  return `-l ${(option.long ?? '').slice(2)}${short}${value} -d ${quote(optionSummary(option))}`
}

function flags (option: Option): string[] {
  return [option.short, option.long].filter((flag) => flag !== undefined)
}

function hasChoices (option: Option): boolean {
  return option.argChoices !== undefined
}

function takesValue (option: Option): boolean {
  return option.required || option.optional
}

function id (name: string): string {
  return name.replaceAll('-', '_')
}

function quote (text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
