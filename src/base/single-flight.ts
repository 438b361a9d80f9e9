// One promise per key while it is in flight: concurrent callers share the first one's work and its outcome.

export class SingleFlight<Result> {
  readonly #flights = new Map<string, Promise<Result>>()

  async run (key: string, work: () => Promise<Result>): Promise<Result> {
    const running = this.#flights.get(key)
    if (running !== undefined) return await running

    const flight = work().finally(() => this.#flights.delete(key))
    this.#flights.set(key, flight)
    return await flight
  }

  get size (): number {
    return this.#flights.size
  }
}
