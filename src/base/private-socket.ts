// A unix socket that at no moment anybody but its owner can connect to: it is bound in a folder of its own and gets its place
// when it has its mode. The kernel then refuses other users by mode; SO_PEERCRED, which could tell them apart, Node does not give.
import { chmod, mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

const MODE_SOCKET = 0o600

/** `listen` binds the path it is given; what was at `path` is replaced. @throws what it throws, and errors of the file system. */
export async function bindPrivately (path: string, listen: (young: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(`${path}.`)
  try {
    const young = join(folder, 's')
    await listen(young)
    await chmod(young, MODE_SOCKET)
    await rename(young, path)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
