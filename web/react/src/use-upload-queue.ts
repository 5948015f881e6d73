/** Many files in a React component. */

import { useEffect, useState, useSyncExternalStore } from 'react'
import { type QueueOptions, type UploadItem, UploadQueue } from './upload-queue.ts'

/** What `useUploadQueue` gives. */
export interface UploadQueueHandle {
  readonly items: readonly UploadItem[]
  readonly queue: UploadQueue
}

/**
 * A queue for as long as the component lives, and its items as they are now. When the component
 * goes, uploads are paused, not cancelled.
 */
export function useUploadQueue(options: QueueOptions): UploadQueueHandle {
  const [queue] = useState(() => new UploadQueue(options))
  const items = useSyncExternalStore(
    queue.subscribe,
    () => queue.items,
    () => queue.items,
  )
  useEffect(() => queue.configure(options))
  useEffect(() => () => queue.pauseAll(), [queue])
  return { items, queue }
}
