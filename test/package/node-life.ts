// What an administrator does with the package on a node: installs it, publishes, pulls, runs, and removes it.
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type ProgramImage, programImage } from '../e2e/program-image.ts'

export const FILE = '/etc/upper'

/** Puts an image and the package into `share`, which the machine sees as /mnt. */
export function provide (share: string, folder: string, deb: string): ProgramImage {
  mkdirSync(share, { recursive: true })
  const image = programImage(folder, [{ [FILE]: 'from the upper layer\n' }], { command: ['/bin/e2e', 'sha', FILE] })
  cpSync(image.layout, join(share, 'layout'), { recursive: true })
  cpSync(deb, join(share, 'package.deb'))
  return image
}

/** Prints the reference. Files that are there no more must not matter. */
export const PUBLISH = `
ipfs-snapshotter publish /mnt/layout --car /root/image.car >/root/reference 2>/root/publish.err || { cat /root/publish.err >&2; exit 1; }
reference=$(head -n 1 /root/reference)
echo "reference $reference"
`

export const GATEWAY = `
ipfs-snapshotter gateway --car /root/image.car --listen 127.0.0.1:8080 >/dev/null 2>&1 &
cat >>/etc/ipfs-snapshotter/config.toml <<'END'
[[source]]
type = "gateway"
url = "http://127.0.0.1:8080"
END
`

/** Without an init system: containerd and the daemon, until both answer; `doctor` has the last word. */
export const SERVE = `
ipfs-snapshotter setup containerd --write >/dev/null
containerd >/root/containerd.log 2>&1 &
ipfs-snapshotter serve 2>/root/serve.log &
until ipfs-snapshotter status >/dev/null 2>&1 && ctr version >/dev/null 2>&1; do sleep 0.1; done
ipfs-snapshotter doctor
`

/** Prints "ran" and what the container did. */
export const RUN = `
name=$(ipfs-snapshotter pull "$reference" 2>/root/pull.err) || { cat /root/pull.err >&2; exit 1; }
echo "ran $(ctr run --rm --snapshotter ipfs --cpu-shares 0 "$name" hello)"
`

/** Everything on the node but what runs pass through, dpkg's own books, and what containerd and `setup` wrote for containerd; sorted. */
export const LISTING = `find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /mnt -o -path /root -o -path /tmp -o -path /run \\
  -o -path /etc/cni -o -path /etc/containerd -o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/containerd \\
  -o -path /var/lib/systemd \\) -prune -o -print | sort`
