// What an image of the benchmark is: how its layers' tars are made, and the program whose first line ends a cold start.

export interface Recipe {
  readonly name: string
  /** Changes whenever the tars would: part of the name under which the image is kept. */
  readonly version: string
  readonly about: string
  /** Prints one line, the same each time, and ends. */
  readonly program: readonly string[]
  /** Measured over these links unless others are named; absent: over all. The whole default run is to stay below an hour. */
  readonly links?: readonly string[]
  /** Writes the tree to `folder`/rootfs and the tars beside it; returns the tars, lowest layer first. */
  readonly build: (folder: string) => Promise<readonly string[]>
}

/** The build's own moment, so that digests do not depend on when an image was built. */
export const EPOCH = 1_700_000_000
export const TAR_OPTIONS = ['--format=posix', '--pax-option=delete=atime,delete=ctime', '--numeric-owner', '--one-file-system', '--xattrs',
  '--xattrs-include=*', '--sort=name']
