/** When a stream that broke off is asked for again. */

const FIRST_DELAY = 1_000
const LONGEST_DELAY = 30_000
// A stream that lived for so long ended as it should; then there is nothing to wait for.
const HEALTHY = 5_000

/**
 * Milliseconds to wait after so many failures in a row (1 is the first). `chance` in [0, 1) spreads
 * those whom the same failure has hit.
 */
export function delayAfter(failures: number, chance: number): number {
  const delay = Math.min(FIRST_DELAY * 2 ** (failures - 1), LONGEST_DELAY)
  return delay * (0.75 + chance / 2)
}

/** Whether a stream that ended by itself after so many milliseconds was a failure. */
export function isTooShort(life: number): boolean {
  return life < HEALTHY
}
