// What a pull tells whoever waits for it: where it is, and what sources sent for it. Bytes are looked at now and then, since they
// come for several layers at once, and some of them for whatever else needs the same.
import { receivedByThisCall } from '../base/call-id.ts'
import { PULL_PROGRESS_MS } from '../base/limits.ts'
import type { Report } from '../base/report.ts'
import type { PullEvent } from '../grpc/pull-image.ts'
import type { ImagePlan } from '../image/plan.ts'
import { tocDigestOf } from '../layer/estargz.ts'
import type { BookedLayer } from './image-book.ts'

interface Watched {
  readonly received: () => number
  told: number
}

export class PullProgress implements Disposable {
  readonly #report: Report
  readonly #image: string
  readonly #watched = new Map<string, Watched>()
  readonly #timer: NodeJS.Timeout

  /** `image`: the reference, as people gave it. To be made within the call of the pull. */
  constructor (report: Report, image: string) {
    this.#report = report
    this.#image = image
    this.#begin(image, 'resolve', 0, receivedByThisCall())
    this.#timer = setInterval(() => { this.#look() }, PULL_PROGRESS_MS)
  }

  resolved ({ manifest, platform, layers }: ImagePlan): void {
    this.#report({ event: 'note', text: `manifest ${manifest.digest}, ${platform}, ${layers.length} layers, ${megabytes(sizeOf(layers))}` })
    this.#begin(this.#image, 'pull', 0)
  }

  /** Its layers are being opened; base first, as in the plan. */
  booked ({ layers }: ImagePlan, booked: readonly BookedLayer[]): void {
    for (const [at, layer] of layers.entries()) {
      const { digest, size } = layer
      const opening = booked[at]?.opening
      if (opening === undefined || this.#watched.has(digest)) continue
      this.#begin(digest, 'open', tocDigestOf(layer) === null ? size : 0, () => opening.received())
      opening.outcome().then(({ record }) => {
        const { prefetchBytes } = record.index
        if (prefetchBytes > 0 && this.#watched.has(digest)) this.#begin(digest, 'prefetch', prefetchBytes)
      }, () => {}) // told to whoever waits for it
    }
  }

  readonly onEvent = (event: PullEvent): void => {
    if (event.type === 'layer') this.#end(event.digest, 'mounted')
  }

  pulled ({ layers }: ImagePlan): void {
    const fetched = this.#watched.get(this.#image)?.received() ?? 0
    this.#end(this.#image, `${layers.length} layers, ${megabytes(sizeOf(layers))}, ${megabytes(fetched)} of it fetched; the rest comes when it is read`)
  }

  [Symbol.dispose] (): void {
    clearInterval(this.#timer)
  }

  #begin (item: string, phase: string, total: number, received = this.#watched.get(item)?.received ?? (() => 0)): void {
    this.#look()
    this.#watched.set(item, { received, told: this.#watched.get(item)?.told ?? 0 })
    this.#report({ event: 'begin', item, phase, total })
  }

  #end (item: string, text: string): void {
    this.#look()
    if (this.#watched.delete(item)) this.#report({ event: 'end', item, text })
  }

  #look (): void {
    for (const [item, watched] of this.#watched) {
      const bytes = watched.received() - watched.told
      if (bytes <= 0) continue
      watched.told += bytes
      this.#report({ event: 'advance', item, bytes })
    }
  }
}

function sizeOf (layers: ImagePlan['layers']): number {
  return layers.reduce((sum, { size }) => sum + size, 0)
}

function megabytes (bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
