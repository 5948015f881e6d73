/** How full something is. */

import { useWords } from './words.ts'

interface MeterProps {
  readonly label: string
  /** From 0 to 1. */
  readonly share: number
}

const NEARLY_FULL = 0.9

export function Meter({ label, share }: MeterProps) {
  const { formats } = useWords()
  const percent = Math.min(100, Math.max(0, share * 100))
  return (
    // biome-ignore lint/a11y/useSemanticElements: Chromium draws <meter> at half of the height that it is given
    <svg
      className="meter"
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(percent)}
      aria-valuetext={formats.percent(percent)}
      data-level={share >= NEARLY_FULL ? 'high' : 'normal'}
    >
      <rect className="meter-value" width={`${percent}%`} height="100%" rx="3" />
    </svg>
  )
}
