// A node that has seen something of everything that the status page shows: images in every state, sources in every mood, a killed
// worker, a container stopped by policy, pulls that failed. For the page's test and for its picture.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { servedFrom, withAlteredBlob } from '../e2e/altered-image.ts'
import { until } from '../e2e/command.ts'
import { GatedGateway } from '../e2e/gated-gateway.ts'
import { publish, type Published, type Pulled, Scene, shelf } from '../e2e/harness.ts'
import { type ProgramImage, programImage, randomFiles } from '../e2e/program-image.ts'
import { kill } from '../e2e/traces.ts'
import { type FakeGateway, startFakeGateway } from '../fakes/gateway.ts'
import { MemoryBlocks } from '../fakes/memory-blocks.ts'
import { freePort } from '../suites/free-port.ts'

const MIB = 1 << 20
/** Of nothing that anybody has. */
export const NOWHERE = 'ipfs://bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
const NAMES = { lazy: 'registry.example/shop/frontend:2.4', whole: 'registry.example/shop/queue:1.0', liar: 'registry.example/shop/liar:latest' }

export class BusyNode {
  readonly folder = shelf()
  readonly scene = new Scene()
  readonly #gateways: Array<GatedGateway | FakeGateway> = []
  /** Of the status page, without a slash at its end. */
  url = ''
  /** Eight files of 2 MiB at /data, the first two of them read. */
  image: ProgramImage | null = null
  pulled: Pulled | null = null

  /** With an image in `NAMES.lazy` whose files are partly here. */
  async start (): Promise<void> {
    const image = programImage(join(this.folder, 'lazy'), [randomFiles(4, 2 * MIB), randomFiles(4, 2 * MIB, 4)])
    const published = await publish(image.layout, join(this.folder, 'lazy.car'))
    const memory = await MemoryBlocks.fromCar(published.car)
    const good = await GatedGateway.start(servedFrom(memory), { headers: { 'ratelimit-remaining': '281' } })
    const broken = await startFakeGateway(servedFrom(new MemoryBlocks()), { status: () => ({ status: 502 }) })
    const tired = await startFakeGateway(servedFrom(new MemoryBlocks()), { status: () => ({ status: 429, headers: { 'retry-after': '1800' } }) })
    this.#gateways.push(good, tired, broken)
    const http = `127.0.0.1:${await freePort()}`
    this.scene.configure({ sources: [good.url, tired.url, broken.url], http, onViolation: 'kill' })
    this.url = `http://${http}`
    await this.scene.serve()
    await this.scene.startContainerd()
    this.pulled = await this.scene.pull(published.reference, '--name', NAMES.lazy)
    this.image = image
    await this.read('/data/0', '/data/1')
    await this.#pullOthers(memory)
  }

  /** In a container of the lazy image. */
  async read (...paths: readonly string[]): Promise<void> {
    await this.scene.run(NAMES.lazy, '/bin/e2e', 'sha', ...paths)
  }

  /** Lets the rest happen: a pull that fails, a worker that dies, a container whose layer lies. */
  async suffer (): Promise<void> {
    await this.scene.tryPull(NOWHERE)
    const { worker } = await this.scene.status()
    kill(worker.pid)
    await until('a worker takes its place', async () => (await this.scene.status()).worker.pid !== worker.pid)
    await this.scene.tryRun('default', NAMES.liar, '/bin/e2e', 'sha', '/data/20', '/data/21')
    await until('the policy acted', () => this.scene.log.includes('container stopped by policy') && this.scene.log.includes('lying layer taken out of service'))
  }

  async end (): Promise<void> {
    await this.scene.end()
    for (const gateway of this.#gateways) await gateway.close()
    rmSync(this.folder, { recursive: true, force: true })
  }

  /** One that is here whole and proven, and one whose second layer is not what its TOC says. */
  async #pullOthers (memory: MemoryBlocks): Promise<void> {
    const whole = await this.#publish('whole', programImage(join(this.folder, 'whole'), [randomFiles(2, MIB, 10)]), memory, 'keep')
    const liar = await this.#publish('liar', programImage(join(this.folder, 'liar'), [randomFiles(2, 2 * MIB, 20)]), memory)
    const changed = await withAlteredBlob(memory, CID.parse(liar.cid), liar.layers.at(-1)?.digest ?? '', (blob) => {
      const middle = blob.byteLength >>> 1
      blob[middle] = (blob[middle] ?? 0) ^ 1
      return blob
    })
    await this.scene.pull(whole.reference, '--name', NAMES.whole)
    await this.scene.run(NAMES.whole, '/bin/e2e', 'sha', '/bin/e2e', '/data/10', '/data/11')
    await this.scene.pull(`ipfs://${changed.toString()}`, '--name', NAMES.liar)
  }

  async #publish (name: string, image: ProgramImage, memory: MemoryBlocks, format: 'keep' | 'estargz' = 'estargz'): Promise<Published> {
    const published = await publish(image.layout, join(this.folder, `${name}.car`), format)
    for (const [key, block] of (await MemoryBlocks.fromCar(published.car)).blocks) memory.blocks.set(key, block)
    return published
  }
}
