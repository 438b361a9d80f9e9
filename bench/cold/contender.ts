// What takes part in a cold start: where its bytes come from, and how it is started, asked to pull and asked to run.
import type { BenchContext } from '../part.ts'
import type { Cleanup } from '../demo/cleanup.ts'
import type { StoredImage } from '../images/image-store.ts'

/** A server with the image, of the machine at the other end of the line. */
export interface Source {
  /** `http://127.0.0.1:port` */
  readonly url: string
  /** Files that it serves from: read once before each run, since the other end's page cache is not ours to drop. */
  readonly files: readonly string[]
  /** Compressed bytes that a full pull takes. */
  readonly imageBytes: number
  /** Whatever the contender needs to name the image. */
  readonly reference: string
}

export interface RunPlace {
  readonly image: StoredImage
  readonly source: Source
  /** The line's near end. */
  readonly url: string
  /** Fresh, gone after the run. */
  readonly folder: string
  readonly cleanup: Cleanup
  readonly context: BenchContext
}

/** Daemons that run on fresh state and have seen nothing of the image. */
export interface Ready {
  readonly pull: () => Promise<void>
  /** Runs the image's program; calls back with each piece of its output. */
  readonly run: (id: string, onStdout: (text: string) => void) => Promise<void>
  /** Files worth keeping with --trace. */
  readonly logs: readonly string[]
}

export interface Contender {
  readonly name: string
  readonly about: string
  /** True when it must have fetched less than the image at its first line. */
  readonly lazy: boolean
  /** Name of the measurement of a second run of the same container, page cache dropped again. */
  readonly again?: string
  /** Runs without being named by --contender only on these images; absent: on all. */
  readonly images?: readonly string[]
  /** Why it cannot take part on this machine; null when it can. */
  readonly absent: (context: BenchContext) => Promise<string | null>
  /** Started once per image; taken down by `cleanup`. */
  readonly source: (image: StoredImage, context: BenchContext, cleanup: Cleanup) => Promise<Source>
  readonly start: (place: RunPlace) => Promise<Ready>
}
