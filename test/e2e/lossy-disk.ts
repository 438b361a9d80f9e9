// A filesystem of its own that loses power when a test says so: ext4 on a loop device whose every further write fails at that
// moment (EXT4_IOC_SHUTDOWN without a flush of its journal), mounted anew from what had reached the device.
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { mountsBelow } from '../suites/bind-layers.ts'
import { until } from './command.ts'
import { compiled } from './compiled.ts'
import { loopsOn } from './traces.ts'

const UNMOUNT_MS = 60_000

const SOURCE = `
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <sys/ioctl.h>
int main(int count, char** words) {
  uint32_t noFlush = 2;
  const int root = count == 2 ? open(words[1], O_RDONLY) : -1;
  if (root < 0 || ioctl(root, _IOR('X', 125, uint32_t), &noFlush) != 0) { perror("shutdown"); return 1; }
  return 0;
}
`

export class LossyDisk {
  /** Where it is mounted. */
  readonly folder: string
  readonly #image: string
  readonly #cut: string

  /** A fresh one of `size` (as truncate understands it) in the file `image`, mounted on `folder`. */
  constructor (folder: string, image: string, size: string) {
    this.folder = folder
    this.#image = image
    this.#cut = compiled('power-cut', SOURCE)
    mkdirSync(folder, { recursive: true })
    execFileSync('truncate', ['-s', size, this.#image])
    execFileSync('mkfs.ext4', ['-q', '-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0', this.#image])
    this.#mount()
  }

  /** Returns when nothing more reaches the device. */
  cut (): void {
    execFileSync(this.#cut, [this.folder])
  }

  /** As after a boot; who used it must be gone. The kernel replays the journal. */
  async powerOn (): Promise<void> {
    await this.unmount()
    this.#mount()
  }

  async unmount (): Promise<void> {
    for (const point of mountsBelow(this.folder).reverse()) if (point !== this.folder) execFileSync('umount', ['-n', '-l', point])
    // Never lazily: a disk that lives on unseen would write beside its successor.
    await until(`${this.folder} is free`, () => {
      try {
        execFileSync('umount', ['-n', this.folder], { stdio: 'pipe' })
      } catch (error) {
        if (!/busy|not mounted/.test(String(error))) throw error
      }
      // Somebody's copy of our mounts may keep it alive: then it would be mounted again as dead as it is.
      return !mountsBelow(this.folder).includes(this.folder) && loopsOn(this.#image).length === 0
    }, UNMOUNT_MS)
  }

  #mount (): void {
    execFileSync('mount', ['-n', '-o', 'loop', this.#image, this.folder])
  }
}
