/** Rates over the last two minutes, of all uploads together and of each. */

import { isActive, type Upload } from './upload.ts'

/** Milliseconds that are kept. */
export const SPAN = 120_000

/** `rate` in bytes per second; null: unknown at that time. */
export interface Sample {
  readonly time: number
  readonly rate: number | null
}

export class RateHistory {
  private total: Sample[] = []
  private readonly each = new Map<string, Sample[]>()

  /** Notes how fast these are now; `isKnown` false while nobody tells it. */
  note(time: number, uploads: readonly Upload[], isKnown: boolean): void {
    const sum = isKnown ? totalRate(uploads) : null
    this.total = extended(this.total, { time, rate: sum })
    const present = new Set<string>()
    for (const upload of uploads) {
      if (!isActive(upload)) continue
      present.add(upload.id)
      const rate = isKnown ? (upload.rate ?? 0) : null
      this.each.set(upload.id, extended(this.each.get(upload.id) ?? [], { time, rate }))
    }
    for (const id of this.each.keys()) if (!present.has(id)) this.each.delete(id)
  }

  /** Of all uploads together. */
  all(): readonly Sample[] {
    return this.total
  }

  /** Of one upload; empty when it has ended. */
  of(id: string): readonly Sample[] {
    return this.each.get(id) ?? []
  }
}

/** Bytes per second of all that are on their way. */
export function totalRate(uploads: readonly Upload[]): number {
  return uploads.reduce(
    (sum, { state, rate }) => sum + (state === 'uploading' ? (rate ?? 0) : 0),
    0,
  )
}

function extended(samples: Sample[], sample: Sample): Sample[] {
  // The last one before the span stays: the line of a graph comes from there.
  const first = samples.findIndex(({ time }) => time > sample.time - SPAN)
  if (first < 0) return [...samples.slice(-1), sample]
  return [...samples.slice(Math.max(0, first - 1)), sample]
}
