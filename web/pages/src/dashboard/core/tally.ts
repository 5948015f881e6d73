/** The figures above the list. */

import { totalRate } from './rate-history.ts'
import { isIdle, type Upload } from './upload.ts'

export interface Tally {
  readonly uploading: number
  readonly idle: number
  readonly finishing: number
  /** Bytes per second. */
  readonly rate: number
  readonly finishedToday: number
  readonly refusedToday: number
}

/** `now` in milliseconds; the day is that of the reader. */
export function tallyOf(uploads: readonly Upload[], now: number): Tally {
  const today = startOfDay(now)
  const count = (isMeant: (upload: Upload) => boolean) => uploads.filter(isMeant).length
  const isOfToday = (upload: Upload) => upload.concat !== 'partial' && upload.modifiedAt >= today
  return {
    uploading: count(({ state }) => state === 'uploading'),
    idle: count(isIdle),
    finishing: count(({ state }) => state === 'finishing'),
    rate: totalRate(uploads),
    finishedToday: count((upload) => upload.state === 'finished' && isOfToday(upload)),
    refusedToday: count((upload) => upload.state === 'refused' && isOfToday(upload)),
  }
}

/** The midnight before `now`, in milliseconds. */
export function startOfDay(now: number): number {
  return new Date(now).setHours(0, 0, 0, 0)
}
