// After a guardian was replaced: every layer is mounted again on its target. Containers that run keep the mount they have:
// what the kernel has cached of it stays readable, the rest is EIO until they are started again. New ones get the new mount.
import { sleep } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { REMOUNT_PAUSE_MS, REMOUNT_TRIES } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { LayerMounts, Mounted } from './layer-mounts.ts'

/** Never throws: what cannot be mounted is logged, and Prepare says UNAVAILABLE for it. */
export async function remountAll (mounts: Pick<LayerMounts, 'all' | 'mount' | 'unmount'>, log: Log): Promise<void> {
  const lost = [...mounts.all()]
  let restored = 0
  for (const [target, mounted] of lost) {
    if (mounts.all().get(target) !== mounted) continue // unmounted meanwhile, or mounted anew
    if (await remount(mounts, target, mounted, log)) restored++
  }
  log.info({ lost: lost.length, restored }, 'mounts restored after the guardian was replaced')
}

async function remount (mounts: Pick<LayerMounts, 'all' | 'mount' | 'unmount'>, target: string, mounted: Mounted, log: Log): Promise<boolean> {
  for (let tries = 1; ; tries++) {
    try {
      await mounts.mount(mounted, target)
      if (mounts.all().has(target)) return true
      await mounts.unmount(target) // somebody unmounted it while we mounted
      return false
    } catch (error) {
      log.error({ code: 'DATA_PLANE_DOWN', target, error: messageOf(error), last: tries === REMOUNT_TRIES }, 'a layer cannot be mounted again')
      if (tries === REMOUNT_TRIES) return false
    }
    await sleep(REMOUNT_PAUSE_MS)
  }
}
