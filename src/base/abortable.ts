// Waiting that can be given up, while the work goes on by itself.

/** @throws what `work` throws, or the signal's reason. */
export async function abortable<Result> (work: Promise<Result>, signal?: AbortSignal): Promise<Result> {
  if (signal === undefined) return await work
  work.catch(() => {}) // told to whoever still waits
  signal.throwIfAborted()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => { reject(signal.reason as Error) }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
