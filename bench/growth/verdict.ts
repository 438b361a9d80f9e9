// Whether a figure grows worse than its cause. Pure.

export interface Point { readonly x: number, readonly y: number }

export interface Growth {
  /** Of the least-squares line, in units of y per unit of x. */
  readonly slope: number
  /** What the last point would be at most, if growth before it had gone on as it was. */
  readonly allowed: number
  readonly isLinear: boolean
}

/** Steeper than before by this is still a line: caches end, the scheduler has its days. */
const STEEPER = 1.5
const NOISE_SHARE = 0.15

/**
 * `points` by ascending x, at least three. The last step may be 1.5 times as steep as the steeper of all steps before it,
 * and may miss that by 15 % and by `noise`, what two measurements of the same differ by.
 * @throws RangeError for fewer points.
 */
export function growthOf (points: readonly Point[], noise: number): Growth {
  const last = points.at(-1)
  const before = points.at(-2)
  const [first] = points
  if (last === undefined || before === undefined || first === undefined || points.length < 3) throw new RangeError('growth of fewer than three points')
  const steepest = Math.max(0, (before.y - first.y) / (before.x - first.x))
  const allowed = (before.y + STEEPER * steepest * (last.x - before.x)) * (1 + NOISE_SHARE) + noise
  return { slope: slopeOf(points), allowed, isLinear: last.y <= allowed }
}

function slopeOf (points: readonly Point[]): number {
  const mean = (of: (point: Point) => number): number => points.reduce((sum, point) => sum + of(point), 0) / points.length
  const x = mean((point) => point.x)
  const y = mean((point) => point.y)
  const spread = points.reduce((sum, point) => sum + (point.x - x) ** 2, 0)
  return points.reduce((sum, point) => sum + (point.x - x) * (point.y - y), 0) / spread
}
