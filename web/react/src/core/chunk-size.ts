/**
 * How many bytes one request carries, after the measured speed.
 *
 * A server that keeps what arrived before a cut loses nothing with large requests. Proxies that
 * collect a request before they pass it on do, and some limit its size or duration; so the slower
 * the network, the smaller the requests, and each takes about two seconds or less.
 */

const MIB = 1024 * 1024
const MBIT = 1_000_000 / 8

/** For the first request, when nothing has been measured yet. */
export const FIRST_CHUNK = 5 * MIB

const STEPS = [
  { from: 1000 * MBIT, size: Number.POSITIVE_INFINITY },
  { from: 100 * MBIT, size: 10 * MIB },
  { from: 10 * MBIT, size: 5 * MIB },
] as const

/** Bytes for the next request at this rate in bytes per second (null: not known). */
export function chunkSizeFor(rate: number | null): number {
  if (rate === null) return FIRST_CHUNK
  return STEPS.find((step) => rate >= step.from)?.size ?? 2 * MIB
}
