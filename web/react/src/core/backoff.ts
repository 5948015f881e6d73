/** When a failed upload is tried again. */

/** How often in a row, without a single byte getting through in between. */
export const MAX_RETRIES = 3

const FIRST_DELAY = 1_000
// A server that asks for more than this is not waited for; the user decides.
const LONGEST_WISH = 30_000

/**
 * Milliseconds to wait before retry number `attempt` (0 is the first): 1 s · 2ⁿ, or longer where
 * the server's Retry-After (`wished`, in seconds) asks for it. Null: do not try again.
 */
export function retryDelay(attempt: number, wished: number | null = null): number | null {
  if (attempt >= MAX_RETRIES) return null
  const wish = (wished ?? 0) * 1000
  return wish > LONGEST_WISH ? null : Math.max(FIRST_DELAY * 2 ** attempt, wish)
}
