// Makes root and state ours for the life of the process: no second daemon may share either of them, however both are
// combined and however close together they start. What is refused leaves nothing behind.
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { LOCK_NAME, lockFolder } from '../cache/folder-lock.ts'
import type { Config } from '../config/load.ts'

/** Folders that daemons used before are locked first, then comes `check`, then new ones are made. @throws FAILED_PRECONDITION, ENVIRONMENT. */
export async function ownFolders ({ root, state }: Pick<Config, 'root' | 'state'>, check: () => Promise<void>): Promise<Disposable> {
  using locks = new DisposableStack()
  const fresh = [...new Set([root, state])].filter((folder) => !isUsed(folder))
  locks.use(ownUsedFolders({ root, state }))
  await check()
  for (const folder of fresh) {
    await mkdir(folder, { recursive: true, mode: 0o711 })
    locks.use(lockFolder(folder))
  }
  return locks.move()
}

/** Only what daemons used before; makes nothing. @throws FAILED_PRECONDITION, ENVIRONMENT. */
export function ownUsedFolders ({ root, state }: Pick<Config, 'root' | 'state'>): Disposable {
  using locks = new DisposableStack()
  for (const folder of new Set([root, state])) if (isUsed(folder)) locks.use(lockFolder(folder))
  return locks.move()
}

function isUsed (folder: string): boolean {
  return existsSync(join(folder, LOCK_NAME))
}
