/** The rate of the last two minutes. */

import { useId } from 'react'
import { fill } from 'tusserver-react'
import { graphOf, HEIGHT, WIDTH } from './core/graph.ts'
import type { Sample } from './core/rate-history.ts'
import { useWords } from './words.ts'

interface RateGraphProps {
  readonly title: string
  readonly samples: readonly Sample[]
  readonly now: number
}

const LINES = [0.25, 0.5, 0.75]

export function RateGraph({ title, samples, now }: RateGraphProps) {
  const id = useId()
  const { texts, formats } = useWords()
  // The samples end a moment ago; the right edge is where they do.
  const { line, area, top, highest } = graphOf(samples, samples.at(-1)?.time ?? now)
  const last = samples.at(-1)?.rate ?? null
  const rate = last === null ? texts.none : formats.rate(last)
  const label = fill(texts.rateGraph, { rate, highest: formats.rate(highest) })
  return (
    <section className="graph" aria-labelledby={id}>
      <div className="graph-head">
        <h2 id={id}>{title}</h2>
        <p className="graph-now">{rate}</p>
      </div>
      <div className="graph-field">
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={label}
        >
          {LINES.map((share) => (
            <path key={share} className="graph-grid" d={`M0 ${HEIGHT * share}H${WIDTH}`} />
          ))}
          <path className="graph-area" d={area} />
          <path className="graph-line" d={line} />
        </svg>
        <span className="graph-top" aria-hidden="true">
          {formats.rate(top)}
        </span>
      </div>
      <div className="graph-times" aria-hidden="true">
        <span>{texts.before}</span>
        <span>{texts.now}</span>
      </div>
    </section>
  )
}
