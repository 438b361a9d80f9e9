// Takes every mount off a target. The data plane must have answered waiting reads before: an unmount blocks on them.
import { readFile } from 'node:fs/promises'
import { isMounted } from './mount-info.ts'
import type { NativeProgram } from './native-program.ts'

/** Also when nothing is mounted, or several mounts are stacked. @throws MOUNT_FAILED when somebody has a file open there. */
export async function unmountAll (native: NativeProgram, target: string): Promise<void> {
  while (isMounted(await readFile('/proc/self/mountinfo', 'utf8'), target)) await native.job(['umount', target])
}
