// What a client of Kubo's RPC asks for, read from method, path and query: POST only, one argument, `CID[/name…]` in Kubo's
// spellings; no name that could mean another place, nothing mutable. Spec: docs.ipfs.tech/reference/kubo/rpc.
import type { CID } from 'multiformats/cid'
import { SnapshotterError } from '../base/errors.ts'
import { KUBO_OFFSET_MAX, KUBO_PATH_CHARS_MAX } from '../base/limits.ts'
import { parseCid } from '../verify/cid.ts'

export interface KuboPath {
  readonly cid: CID
  /** Below it. */
  readonly names: readonly string[]
}

export interface KuboRequest {
  /** `cat`, `files/stat`, … */
  readonly command: string
  readonly query: URLSearchParams
}

const PREFIX = '/api/v0/'

/** @throws NOT_FOUND for what is no command, INVALID_ARGUMENT for a query that cannot be read. */
export function readKuboRequest (url: string): KuboRequest {
  const [path = '', query = ''] = url.split('?', 2)
  const command = path.startsWith(PREFIX) ? path.slice(PREFIX.length) : ''
  if (!/^[a-z]+(?:\/[a-z]+)?$/.test(command)) {
    throw new SnapshotterError('NOT_FOUND', `${JSON.stringify(path.slice(0, 200))} is no command; those are below ${PREFIX}`)
  }
  if (query.length > KUBO_PATH_CHARS_MAX) {
    throw new SnapshotterError('LIMIT_EXCEEDED', `${command}: a query of ${query.length} characters, limit ${KUBO_PATH_CHARS_MAX}`)
  }
  return { command, query: new URLSearchParams(query) }
}

/** The only `arg`. @throws INVALID_ARGUMENT, REF_INVALID, REF_MUTABLE, CID_UNSUPPORTED. */
export function readKuboPath ({ command, query }: KuboRequest): KuboPath {
  const args = query.getAll('arg')
  const [text] = args
  if (text === undefined || args.length > 1) {
    throw new SnapshotterError('INVALID_ARGUMENT', `${command}: ${args.length} arguments; this daemon takes one "arg", a CID or /ipfs/CID`)
  }
  return readArg(command, text)
}

function readArg (command: string, text: string): KuboPath {
  const shown = JSON.stringify(text.slice(0, 120))
  if (/^(?:\/ipns\/|ipns:)/.test(text)) throw new SnapshotterError('REF_MUTABLE', `${command} ${shown}: names change; use /ipfs/CID`)
  const [cid = '', ...names] = text.replace(/^(?:\/ipfs\/|ipfs:\/\/)/, '').replace(/\/$/, '').split('/')
  const wrong = names.find((name) => name === '' || name === '.' || name === '..' || name.includes('\0'))
  if (wrong !== undefined) throw new SnapshotterError('REF_INVALID', `${command} ${shown}: ${JSON.stringify(wrong)} is no name in a directory`)
  return { cid: parseCid(cid), names }
}

/** All `arg`s, which name no path below a CID. @throws INVALID_ARGUMENT, REF_INVALID, REF_MUTABLE, CID_UNSUPPORTED. */
export function readKuboCids ({ command, query }: KuboRequest): CID[] {
  const args = query.getAll('arg')
  if (args.length === 0) throw new SnapshotterError('INVALID_ARGUMENT', `${command}: no "arg" that names a CID`)
  return args.map((arg) => {
    const { cid, names } = readArg(command, arg)
    if (names.length > 0) throw new SnapshotterError('INVALID_ARGUMENT', `${command}: ${JSON.stringify(arg.slice(0, 120))} is a path; name its CID`)
    return cid
  })
}

/** Bytes [offset, offset + length), to the end without a length. @throws INVALID_ARGUMENT. */
export function readKuboRange ({ command, query }: KuboRequest): { readonly offset: number, readonly length: number } {
  const number = (name: string, otherwise: number): number => {
    const text = query.get(name)
    if (text === null) return otherwise
    if (!/^\d{1,16}$/.test(text) || Number(text) > KUBO_OFFSET_MAX) {
      throw new SnapshotterError('INVALID_ARGUMENT', `${command}: ${name} ${JSON.stringify(text.slice(0, 40))} is no number of bytes`)
    }
    return Number(text)
  }
  return { offset: number('offset', 0), length: number('length', KUBO_OFFSET_MAX) }
}
