// `/metrics` in Prometheus' text format: the table of metric-table.ts, the worker's histograms of reads, and gRPC calls as
// they are answered. Everything is read when it is asked for; nothing runs in between.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { type Figures, type LatencyFigures, METRICS, type MetricDefinition, type Values } from './metric-table.ts'
import type { OperatorAnswer } from './operator-server.ts'

const PREFIX = 'ipfs_snapshotter_'
const READS = `${PREFIX}read_duration_seconds`
const READS_HELP = 'Reads of containers that the page cache could not answer: from our cache at once, or after waiting for the network'
const CALL_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60]
const US_PER_SECOND = 1e6

export class Metrics {
  readonly #registry = new Registry()
  readonly #figures: () => Promise<Figures>
  readonly #set: ReadonlyArray<(figures: Figures) => void>
  readonly #calls: Histogram<'method' | 'code'>
  readonly #reads: ReadHistogram

  constructor (figures: () => Promise<Figures>) {
    this.#figures = figures
    const registers = [this.#registry]
    this.#set = METRICS.map((definition) => registered(definition, this.#registry))
    this.#reads = new ReadHistogram(this.#registry)
    this.#calls = new Histogram({
      name: `${PREFIX}grpc_call_duration_seconds`,
      help: 'Calls of containerd, by method and gRPC code',
      labelNames: ['method', 'code'],
      buckets: CALL_SECONDS,
      registers
    })
  }

  /** A gRPC call was answered: both names come from closed lists. */
  observeCall (method: string, code: string, ms: number): void {
    this.#calls.observe({ method, code }, ms / 1000)
  }

  /** @throws what the figures throw. */
  async answer (): Promise<OperatorAnswer> {
    const figures = await this.#figures()
    for (const set of this.#set) set(figures)
    this.#reads.latency = figures.worker?.latency ?? null
    return { status: 200, type: this.#registry.contentType, body: await this.#registry.metrics() }
  }
}

function registered ({ name, help, type, labels, read }: MetricDefinition, registry: Registry): (figures: Figures) => void {
  const about = { name: `${PREFIX}${name}`, help, labelNames: labels, registers: [registry] }
  type Put = (labels: Readonly<Record<string, string>>, value: number) => void
  const fill = (metric: { readonly reset: () => void, readonly remove: () => void }, values: Values, put: Put): void => {
    metric.reset()
    if (labels.length === 0) metric.remove() // which reset sets to 0
    for (const value of values) put(...value)
  }
  if (type === 'counter') {
    const counter = new Counter(about)
    return (figures) => { fill(counter, read(figures), (labels, value) => { counter.inc(labels, value) }) }
  }
  const gauge = new Gauge(about)
  return (figures) => { fill(gauge, read(figures), (labels, value) => { gauge.set(labels, value) }) }
}

type ReadLabels = 'kind' | 'le'
type ToldValues = Awaited<ReturnType<Histogram<ReadLabels>['get']>>

/** Observed by the worker, not here: only told. */
class ReadHistogram extends Histogram<ReadLabels> {
  latency: NonNullable<Figures['worker']>['latency'] | null = null

  constructor (registry: Registry) {
    super({ name: READS, help: READS_HELP, labelNames: ['kind'], registers: [registry] })
  }

  override async get (): Promise<ToldValues> {
    const { latency } = this
    const values = latency === null ? [] : (['cached', 'fetched'] as const).flatMap((kind) => this.#values(kind, latency.boundsUs, latency[kind]))
    // prom-client's types say numbers where its code has names.
    return { name: READS, help: READS_HELP, type: 'histogram', aggregator: 'sum', values } as unknown as ToldValues
  }

  /** What the registry asks for; prom-client's types do not name it. */
  async getForPromString (): Promise<ToldValues> {
    return await this.get()
  }

  #values (kind: string, boundsUs: readonly number[], { sumUs, counts }: LatencyFigures) {
    let total = 0
    const buckets = counts.map((count, at) => {
      total += count
      const bound = boundsUs[at]
      return { metricName: `${READS}_bucket`, labels: { kind, le: bound === undefined ? '+Inf' : bound / US_PER_SECOND }, value: total }
    })
    return [
      ...buckets,
      { metricName: `${READS}_sum`, labels: { kind }, value: sumUs / US_PER_SECOND },
      { metricName: `${READS}_count`, labels: { kind }, value: total }
    ]
  }
}
