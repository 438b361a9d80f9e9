import { expect, test } from '@jest/globals'
import { SnapshotterError } from '../../src/base/errors.ts'
import { TrailingProof } from '../../src/publish/trailing-proof.ts'

/** A proof that goes on until it is told how it ends, or the signal ends it. */
function proofOf (): { readonly proof: (signal: AbortSignal) => Promise<void>, readonly end: (error?: Error) => void, readonly began: () => boolean } {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>()
  let began = false
  const proof = async (signal: AbortSignal): Promise<void> => {
    began = true
    signal.addEventListener('abort', () => { reject(signal.reason as Error) })
    await promise
  }
  return { proof, end: (error) => { if (error === undefined) resolve(undefined); else reject(error) }, began: () => began }
}

test('a proof goes on beside the work, and the next one waits for it', async () => {
  const proofs = new TrailingProof()
  const [first, second] = [proofOf(), proofOf()]
  await proofs.begin(first.proof)
  const next = proofs.begin(second.proof)
  await new Promise((resolve) => setImmediate(resolve))
  expect([first.began(), second.began()]).toEqual([true, false])
  first.end()
  await next
  expect(second.began()).toBe(true)
  second.end()
  await proofs.finish()
  await proofs.close()
  expect(proofs.signal.aborted).toBe(false)
})

test('a proof that fails ends the work with its own error, now and at the end', async () => {
  const proofs = new TrailingProof()
  const { proof, end } = proofOf()
  await proofs.begin(proof)
  const lie = new SnapshotterError('TOC_INVALID', 'TOC x differs from its tar')
  end(lie)
  await new Promise((resolve) => setImmediate(resolve))
  expect(proofs.signal.reason).toBe(lie)
  await expect(proofs.begin(proofOf().proof)).rejects.toBe(lie)
  await expect(proofs.finish()).rejects.toBe(lie)
  await proofs.close()
})

test('work that fails, and a signal from outside, end the proof before close is over', async () => {
  for (const outside of [false, true]) {
    const stop = new AbortController()
    const proofs = new TrailingProof(stop.signal)
    let over = false
    await proofs.begin(async (signal) => {
      await new Promise((resolve) => { signal.addEventListener('abort', resolve) })
      await new Promise((resolve) => setImmediate(resolve))
      over = true
    })
    if (outside) stop.abort(new SnapshotterError('CANCELLED', 'stopped'))
    await proofs.close()
    expect(over).toBe(true)
  }
})
