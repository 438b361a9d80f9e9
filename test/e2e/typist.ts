// Types what a page tells people to type into the shell of a machine of its own, to the letter: only <CID> and <manifest> become what
// `publish` printed, and containerd is started by hand, since the machine has no systemd.
import { resolve } from 'node:path'
import type { OwnMachine } from './own-machine.ts'

const CLONE = resolve(import.meta.dirname, '../..')
const RESTART = 'systemctl restart containerd'

export class Typist {
  readonly #machine: OwnMachine
  cid = '<CID>'
  manifest = '<manifest>'

  constructor (machine: OwnMachine) {
    this.#machine = machine
  }

  async startContainerd (): Promise<void> {
    await this.#machine.done('containerd > containerd.log 2>&1 &\ncontainerd=$!')
    await this.#machine.until('ctr version > /dev/null 2>&1')
  }

  /** What README's first line does. */
  async setPath (command: string): Promise<void> {
    await this.#machine.done(`cd ${CLONE}`)
    await this.#machine.done(command)
    await this.#machine.done(`cd ${this.#machine.folder}`)
  }

  /** What the command printed; what it leaves running answers then. @throws when it fails */
  async type (command: string): Promise<string> {
    if (command === RESTART) {
      await this.#machine.done('kill $containerd; wait $containerd || true')
      await this.startContainerd()
      return ''
    }
    const printed = await this.#machine.done(command.replaceAll('<CID>', this.cid).replaceAll('<manifest>', this.manifest))
    const [, cid, manifest] = / publish /.test(command) ? /^ipfs:\/\/(\w+)@sha256:(\w+)\n/.exec(printed) ?? [] : []
    if (cid !== undefined && manifest !== undefined) [this.cid, this.manifest] = [cid, manifest]
    const [, port] = /^ipfs-snapshotter gateway .*--listen \S+:(\d+) &/.exec(command) ?? []
    if (port !== undefined) await this.#machine.until(`(exec 3<> /dev/tcp/127.0.0.1/${port}) 2> /dev/null`)
    if (/^ipfs-snapshotter serve &/.test(command)) await this.#machine.until('ipfs-snapshotter status > /dev/null 2>&1')
    return printed
  }
}
