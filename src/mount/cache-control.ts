// The cache's side of the data plane: which chunks were used, and which may go (docs/PROTOCOL.md, frames 17 to 19).
import { SnapshotterError } from '../base/errors.ts'
import type { DataPlane } from './data-plane.ts'
import { BodyReader, FRAME, text, u32 } from './frames.ts'
import type { ChunkRun } from './supply.ts'

type Plane = Pick<DataPlane, 'request'>

/** Their place on the disk becomes a hole; also of a file that is gone. @throws DATA_PLANE_DOWN */
export async function evictChunks (plane: Plane, name: string, runs: readonly ChunkRun[]): Promise<void> {
  const ENOENT = 2
  const body = new BodyReader((await plane.request(FRAME.EVICT, text(name), u32(runs.length, ...runs.flatMap(({ first, count }) => [first, count])))).body)
  const error = body.i32()
  if (error !== 0 && error !== ENOENT) throw new SnapshotterError('DATA_PLANE_DOWN', `chunks of ${name} not evicted (errno ${error}): ${body.text()}`)
}

/** One bit per chunk, lowest first, of those that were read since the last call; empty when the worker does not answer. */
export async function usedChunks (plane: Plane, name: string): Promise<Uint8Array> {
  return await plane.request(FRAME.USED, text(name)).then(({ body }) => body, () => new Uint8Array(0))
}
