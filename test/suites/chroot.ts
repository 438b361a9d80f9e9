// Whether this process lives in a chroot, where no system boots and where the kernel names files as they are called outside.
import { readFileSync } from 'node:fs'

/** Our root is a filesystem's root, or else the root of a chroot (proc(5), mountinfo). */
export const insideChroot = !/^\d+ \d+ \S+ \/ \/ /m.test(readFileSync('/proc/self/mountinfo', 'utf8'))
