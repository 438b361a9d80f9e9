// Work on many items at once, results in the order of the items: bounded by count and by bytes, so that one slow item
// does not let the others pile up.

export interface Bounds<Item> {
  readonly itemsMax: number
  readonly bytesMax: number
  readonly bytesOf: (item: Item) => number
}

/** Pulls from `items` only while the bounds allow; the first failure ends it after what is under way has settled. */
export async function * inOrder<Item, Result> (
  items: AsyncIterable<Item>, work: (item: Item) => Promise<Result>, bounds: Bounds<Item>
): AsyncGenerator<Result, void, undefined> {
  const running: Array<{ readonly result: Promise<Result>, readonly bytes: number }> = []
  let bytes = 0
  const next = async (): Promise<Result | undefined> => {
    const first = running[0]
    if (first === undefined) return undefined
    const result = await first.result
    running.shift()
    bytes -= first.bytes
    return result
  }
  try {
    for await (const item of items) {
      const size = bounds.bytesOf(item)
      while (running.length > 0 && (running.length >= bounds.itemsMax || bytes + size > bounds.bytesMax)) yield await next() as Result
      const result = work(item)
      result.catch(() => {}) // it is awaited above, or below
      running.push({ result, bytes: size })
      bytes += size
    }
    while (running.length > 0) yield await next() as Result
  } finally {
    await Promise.allSettled(running.map(({ result }) => result))
  }
}
