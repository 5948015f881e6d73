/** The shape of a rate graph: from samples to the lines of an SVG. */

import { type Sample, SPAN } from './rate-history.ts'

export const WIDTH = 600
export const HEIGHT = 120

/** Paths in a field of `WIDTH` × `HEIGHT`, time to the right, zero at the bottom. */
export interface Graph {
  readonly line: string
  readonly area: string
  /** Bytes per second at the top. */
  readonly top: number
  readonly highest: number
}

const LOWEST_TOP = 1024
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500]

/** `now` is the right edge. Where the rate was unknown the line is interrupted. */
export function graphOf(samples: readonly Sample[], now: number): Graph {
  const highest = samples.reduce((most, { rate }) => Math.max(most, rate ?? 0), 0)
  const top = topFor(highest)
  const point = ({ time, rate }: Sample): Point => [
    round(WIDTH * (1 - (now - time) / SPAN)),
    round(HEIGHT * (1 - (rate ?? 0) / top)),
  ]
  const runs = runsOf(samples).map((run) => run.map(point))
  return {
    line: runs.map(lineOf).join(''),
    area: runs.map(areaOf).join(''),
    top,
    highest,
  }
}

type Point = readonly [number, number]

/** The next step of a power of 1024, so that the scale seldom changes. */
export function topFor(highest: number): number {
  if (highest <= LOWEST_TOP) return LOWEST_TOP
  const unit = 1024 ** Math.floor(Math.log(highest) / Math.log(1024))
  return (STEPS.find((step) => highest <= step * unit) ?? 1024) * unit
}

function runsOf(samples: readonly Sample[]): Sample[][] {
  const runs: Sample[][] = [[]]
  for (const sample of samples) {
    if (sample.rate === null) runs.push([])
    else runs.at(-1)?.push(sample)
  }
  return runs.filter((run) => run.length > 0)
}

function lineOf(points: readonly Point[]): string {
  return points.map(([x, y], index) => `${index === 0 ? 'M' : 'L'}${x} ${y}`).join('')
}

function areaOf(points: readonly Point[]): string {
  const first = points[0]?.[0] ?? 0
  const last = points.at(-1)?.[0] ?? 0
  return `${lineOf(points)}L${last} ${HEIGHT}L${first} ${HEIGHT}Z`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
