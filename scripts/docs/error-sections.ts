// The table of src/base/error-codes.ts as a page: who mends what, and each code with cause, remedy, numbers and a line as it looks.
import { ERRNO, GRPC, MEANINGS } from '../../src/base/error-codes.ts'
import { type ErrorCode, ERROR_CODES, SnapshotterError } from '../../src/base/errors.ts'
import { code, table } from './markdown.ts'

const MENDERS = {
  user: 'whoever named the image',
  publisher: 'the publisher of the image',
  source: 'the operator, with other sources; or by time',
  operator: 'the operator of the node; `doctor` helps',
  caller: 'the program that called',
  developer: 'us'
} as const

export function errorTable (): string {
  const rows = Object.entries(MENDERS).map(([mender, words]) => {
    const codes = ERROR_CODES.filter((name) => MEANINGS[name].mender === mender)
    return [words, codes.map((name) => `[${code(name)}](#${name.toLowerCase()})`).join(', ')]
  })
  return table(['mended by', 'codes'], rows)
}

export function errorSections (): string {
  return ERROR_CODES.map(section).join('\n\n')
}

function section (name: ErrorCode): string {
  const { cause, remedy, example, mender, grpc, errno } = MEANINGS[name]
  return [
    `### ${name}`,
    cause,
    `**To do:** ${remedy}`,
    `Mended by ${MENDERS[mender]}. gRPC ${code(nameIn(GRPC, grpc))}, errno ${code(nameIn(ERRNO, errno))}.`,
    `\`\`\`\n${new SnapshotterError(name, example).line}\n\`\`\``
  ].join('\n\n')
}

function nameIn (numbers: Readonly<Record<string, number>>, wanted: number): string {
  return Object.entries(numbers).find(([, number]) => number === wanted)?.[0] ?? String(wanted)
}
