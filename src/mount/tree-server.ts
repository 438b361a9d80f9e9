// A process of its own, for the driver `fuse`: shows trees through fuse-native and reads their bytes from the files that
// the worker serves, which checks every one. Its own thread pool waits for those reads, so that the daemon's never does;
// its mounts outlive the daemon. One JSON line a connection asks, one answers. It ends when nothing of it is mounted.
import { chmod, mkdir, readFile, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { asSnapshotterError, messageOf } from '../base/errors.ts'
import { TREE_REQUEST_CHARS_MAX, TREE_SERVER_IDLE_TICKS, TREE_SERVER_TICK_MS } from '../base/limits.ts'
import { decodeIndex } from '../layer/index-codec.ts'
import { loadFuseNative } from './fuse-native.ts'
import { isMounted } from './mount-info.ts'
import { ServedTree } from './served-tree.ts'
import { TreeView } from './tree-view.ts'

/** What to run. */
export const TREE_SERVER = import.meta.filename

export interface TreeToMount {
  readonly target: string
  /** Path of an encoded LayerIndex, chunks left out. */
  readonly tree: string
  /** Path of the file that the worker serves. */
  readonly data: string
  /** The root's number; the others follow. */
  readonly firstInode: number
}

export type TreeRequest =
  TreeToMount & { readonly do: 'mount' } |
  { readonly do: 'forget', readonly target: string } |
  { readonly do: 'list' } |
  { readonly do: 'end' }

export type TreeAnswer = { readonly targets: readonly string[] } | { readonly code: string, readonly message: string }

class TreeServer {
  readonly #trees = new Map<string, ServedTree>()
  #idleTicks = 0
  /** It was told to end. */
  ended = false

  async answer (line: string): Promise<TreeAnswer> {
    try {
      const request = JSON.parse(line) as TreeRequest
      if (request.do === 'mount') await this.#mount(request)
      if (request.do === 'forget') await this.#forget(request.target)
      if (request.do === 'end') await this.#end()
      return { targets: [...this.#trees.keys()] }
    } catch (error) {
      const { code, message } = asSnapshotterError(error)
      return { code, message }
    }
  }

  /** Others unmount too. True when there has been nothing to do for a while. */
  async tick (): Promise<boolean> {
    const mounts = await readFile('/proc/self/mountinfo', 'utf8')
    for (const target of this.#trees.keys()) if (!isMounted(mounts, target)) await this.#forget(target)
    this.#idleTicks = this.#trees.size === 0 ? this.#idleTicks + 1 : 0
    return this.#idleTicks >= TREE_SERVER_IDLE_TICKS
  }

  async #mount ({ target, tree, data, firstInode }: TreeToMount): Promise<void> {
    await this.#forget(target)
    const library = loadFuseNative()
    const view = new TreeView(decodeIndex(await readFile(tree)), firstInode)
    this.#trees.set(target, await ServedTree.mount(library, target, view, data))
    this.#idleTicks = 0
  }

  async #end (): Promise<void> {
    this.ended = true
    for (const target of [...this.#trees.keys()]) await this.#forget(target)
  }

  async #forget (target: string): Promise<void> {
    const tree = this.#trees.get(target)
    this.#trees.delete(target)
    await tree?.close()
  }
}

async function serveTrees (socketPath: string): Promise<void> {
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 })
  await chmod(dirname(socketPath), 0o700)
  await rm(socketPath, { force: true }) // of one that was killed: the daemon starts us when nobody listens
  const trees = new TreeServer()
  const server = createServer((socket) => { converse(socket, trees, server) })
  server.listen(socketPath)
  const ticking = setInterval(() => {
    trees.tick().then((idle) => { if (idle) server.close() }, note)
  }, TREE_SERVER_TICK_MS)
  server.once('close', () => { clearInterval(ticking) })
}

function converse (socket: Socket, trees: TreeServer, server: Server): void {
  let asked = ''
  socket.setEncoding('utf8').on('error', note) // a client was killed while it asked
  socket.on('data', (piece: string) => {
    if (asked.includes('\n')) return // one question a connection
    asked += piece
    if (asked.length > TREE_REQUEST_CHARS_MAX) socket.destroy()
    if (!asked.includes('\n')) return
    trees.answer(asked).then((answer) => {
      socket.end(`${JSON.stringify(answer)}\n`)
      if (trees.ended) server.close()
    }, note)
  })
}

/** stderr is a file beside the socket. */
function note (error: unknown): void {
  process.stderr.write(`${messageOf(error)}\n`)
}

if (import.meta.main) await serveTrees(process.argv[2] ?? '')
