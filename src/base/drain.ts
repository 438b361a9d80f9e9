// To the end of a stream for what reading it proves, or for what comes after it.

export async function drain (items: AsyncIterable<unknown>): Promise<void> {
  const iterator = items[Symbol.asyncIterator]()
  while ((await iterator.next()).done !== true) { /* what it yields is nobody's */ }
}
