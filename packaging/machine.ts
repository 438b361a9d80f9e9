// The machines that packages are made for, by each one's names.
export interface Machine {
  /** Node's and npm's. */
  readonly arch: 'x64' | 'arm64'
  /** Debian's. */
  readonly debian: 'amd64' | 'arm64'
  /** In the prefix of a cross compiler, and in the name of what scripts/build-native makes with it. */
  readonly gnu: 'x86_64' | 'aarch64'
}

export const MACHINES: readonly Machine[] = [
  { arch: 'x64', debian: 'amd64', gnu: 'x86_64' },
  { arch: 'arm64', debian: 'arm64', gnu: 'aarch64' }
]

/** @throws for a machine that nothing is built for */
export function machineOf (arch: string): Machine {
  const machine = MACHINES.find((one) => one.arch === arch)
  if (machine === undefined) throw new Error(`there is no package for ${arch}: x64 and arm64 only`)
  return machine
}
