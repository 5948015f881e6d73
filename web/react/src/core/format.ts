/** Sizes, speeds and times for people, in their language. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** Formats for one locale, as `en` or `ko-KR`. */
export interface Formats {
  /** Bytes as `1.5 GiB` (with a no-break space): powers of 1024, as the server counts. */
  bytes(count: number): string
  /** Bytes per second as `12 MiB/s`. */
  rate(bytesPerSecond: number): string
  /** Seconds as `1 hr, 5 min` or `40 sec`, never more exact than is of use. */
  duration(seconds: number): string
  /** A percentage (0–100) without decimals, as `42%`. */
  percent(value: number): string
}

/** Raises RangeError for what is no locale. */
export function formatsFor(locale: string): Formats {
  const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 })
  const tenths = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 })
  const percents = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 0 })
  const unit = (value: number, name: string) =>
    new Intl.NumberFormat(locale, { style: 'unit', unit: name, unitDisplay: 'short' }).format(value)
  const bytes = (count: number) => {
    const step = stepOf(count)
    const value = count / 1024 ** step
    // Without a line break between number and unit.
    return `${(value < 100 && step > 0 ? tenths : whole).format(value)}\u00a0${UNITS[step]}`
  }
  return {
    bytes,
    rate: (bytesPerSecond) => `${bytes(bytesPerSecond)}/s`,
    duration: (seconds) =>
      partsOf(seconds)
        .map(([value, name]) => unit(value, name))
        .join(' ')
        .replaceAll(' ', '\u00a0'),
    // Never 100 % before it is so.
    percent: (value) => percents.format(Math.floor(value) / 100),
  }
}

function stepOf(count: number): number {
  let step = 0
  // What would be rounded up to 1024 is one of the next unit.
  while (step + 1 < UNITS.length && Math.round(count / 1024 ** step) >= 1024) step += 1
  return step
}

function partsOf(seconds: number): [number, string][] {
  const whole = Math.max(1, Math.ceil(seconds))
  if (whole < 60) return [[whole, 'second']]
  const minutes = Math.ceil(whole / 60)
  if (minutes < 60) return [[minutes, 'minute']]
  const hours = Math.floor(minutes / 60)
  if (hours >= 48) return [[Math.round(hours / 24), 'day']]
  return minutes % 60 === 0
    ? [[hours, 'hour']]
    : [
        [hours, 'hour'],
        [minutes % 60, 'minute'],
      ]
}
