import { afterEach, expect, jest, test } from '@jest/globals'
import { OPEN_DEADLINE_MS } from '../../src/base/limits.ts'
import { silentLog } from '../../src/base/log.ts'
import type { LayerOpener } from '../../src/cache/layer-opener.ts'
import { ImageBook } from '../../src/daemon/image-book.ts'
import type { ImagePlan } from '../../src/image/plan.ts'
import type { BlockService, Waits } from '../../src/ipfs/blocks.ts'

afterEach(() => { jest.useRealTimers() })

test('layers that do not open in time are given up, with the image and the time in the message', async () => {
  jest.useFakeTimers()
  const opener = {
    open: async (_layer: object, _blocks: object, { signal }: Waits) =>
      await new Promise((_resolve, reject) => signal?.addEventListener('abort', () => { reject(signal.reason as Error) }))
  } as unknown as LayerOpener
  const plan = { manifest: { digest: 'sha256:aa' }, layers: [{ digest: 'sha256:bb', chainId: 'sha256:bb' }] } as unknown as ImagePlan
  const { opened } = new ImageBook({ opener, log: silentLog }).add(plan, {} as BlockService)
  const outcome = expect(opened).rejects.toMatchObject({
    line: `UNAVAILABLE: the layers of manifest sha256:aa did not open within ${OPEN_DEADLINE_MS} ms`
  })
  await jest.advanceTimersByTimeAsync(OPEN_DEADLINE_MS)
  await outcome
})
