/** Times for people, in their language. */

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Times in milliseconds since 1970. */
export interface Moments {
  /** As `3 min. ago`, or `in 2 days`; `now` for less than a minute. */
  relative(time: number, reference: number): string
  /** Date and time to the second. */
  exact(time: number): string
}

/** Raises RangeError for what is no locale. */
export function momentsFor(locale: string): Moments {
  const now = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' }).format(0, 'second')
  const near = new Intl.RelativeTimeFormat(locale, { style: 'short' })
  const full = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' })
  return {
    relative: (time, reference) => {
      const span = time - reference
      const size = Math.abs(span)
      if (size < MINUTE) return now
      if (size < HOUR) return near.format(Math.trunc(span / MINUTE), 'minute')
      if (size < DAY) return near.format(Math.trunc(span / HOUR), 'hour')
      return near.format(Math.trunc(span / DAY), 'day')
    },
    exact: (time) => full.format(time),
  }
}
