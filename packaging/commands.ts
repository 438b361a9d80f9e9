// What the man page and the completions are made of: commander's own knowledge of the commands, so that neither can name
// an option that is not there.
import type { Argument, Command, Option } from 'commander'
import { program } from '../src/cli/commands.ts'

export interface CommandFacts {
  /** As typed after the program's name: "pull", "profile record". */
  readonly words: readonly string[]
  readonly summary: string
  readonly operands: readonly Argument[]
  readonly options: readonly Option[]
  /** Names of commands below it. */
  readonly below: readonly string[]
}

export interface ProgramFacts {
  readonly name: string
  readonly summary: string
  readonly version: string
  /** Of the program itself. */
  readonly options: readonly Option[]
  /** In the order of the help; what only holds others is among them. */
  readonly commands: readonly CommandFacts[]
}

export async function programFacts (): Promise<ProgramFacts> {
  const all = await program()
  return {
    name: all.name(),
    summary: all.description(),
    version: all.version() ?? '',
    options: visible(all),
    commands: all.commands.flatMap((command) => facts(command, []))
  }
}

function facts (command: Command, above: readonly string[]): CommandFacts[] {
  const words = [...above, command.name()]
  const own = {
    words,
    summary: command.description(),
    operands: command.registeredArguments,
    options: visible(command),
    below: command.commands.map((one) => one.name())
  }
  return [own, ...command.commands.flatMap((one) => facts(one, words))]
}

function visible (command: Command): Option[] {
  return command.createHelp().visibleOptions(command)
}

/** "SOURCE", "[COMMAND…]" as the help shows them: <source>, [command...]. */
export function operandText (operand: Argument): string {
  const name = `${operand.name()}${operand.variadic ? '...' : ''}`
  return operand.required ? `<${name}>` : `[${name}]`
}
