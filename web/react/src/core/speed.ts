/**
 * How fast bytes go, over a sliding window: long enough that one slow answer does not make the
 * figures jump, short enough that they follow a change of the network.
 *
 * Times are milliseconds of any steady clock and are given from outside.
 */

const WINDOW = 8_000
const MIN_SPAN = 400

interface Sample {
  readonly time: number
  readonly total: number
}

/** Measures a rate in bytes per second. */
export class SpeedMeter {
  private samples: Sample[] = []
  private total = 0

  /** Begins anew, as after a pause, which must not count as slowness. */
  reset(time: number): void {
    this.total = 0
    this.samples = [{ time, total: 0 }]
  }

  /** So many more bytes were sent. */
  add(time: number, bytes: number): void {
    if (this.samples.length === 0) this.reset(time)
    this.total += bytes
    this.samples.push({ time, total: this.total })
    this.forget(time)
  }

  /** Bytes per second up to now; null as long as there is too little to say. */
  rate(now: number): number | null {
    this.forget(now)
    const first = this.samples[0]
    if (first === undefined || now - first.time < MIN_SPAN) return null
    return ((this.total - first.total) / (now - first.time)) * 1000
  }

  private forget(now: number): void {
    // The last sample before the window stays: it is where the window begins.
    let gone = 0
    while (
      gone + 1 < this.samples.length &&
      (this.samples[gone + 1]?.time ?? now) <= now - WINDOW
    ) {
      gone += 1
    }
    if (gone > 0) this.samples = this.samples.slice(gone)
  }
}

/** Seconds until so many bytes have gone at this rate; null if that cannot be said. */
export function secondsLeft(bytes: number, rate: number | null): number | null {
  if (bytes <= 0) return 0
  return rate === null || rate <= 0 ? null : bytes / rate
}
