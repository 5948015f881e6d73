/** Which of the waiting uploads may begin. */

/** What the queue has to know of an upload. */
export interface Queued {
  readonly id: string
  readonly isWaiting: boolean
  readonly isRunning: boolean
}

/** The ids of those to start now, oldest first, so that at most `limit` run. */
export function nextToStart(items: readonly Queued[], limit: number): string[] {
  const running = items.filter((item) => item.isRunning).length
  const free = Math.max(0, Math.max(1, Math.floor(limit)) - running)
  return items
    .filter((item) => item.isWaiting)
    .slice(0, free)
    .map((item) => item.id)
}
