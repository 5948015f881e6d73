/** What the table and the details have in common. */

import { fill } from 'tusserver-react'
import { isActive, isIdle, progressOf, type Upload } from './core/upload.ts'
import { nameOf, stateNameOf, stateText, useWords } from './words.ts'

interface PartProps {
  readonly upload: Upload
}

export function StateBadge({ upload }: PartProps) {
  const { texts } = useWords()
  return (
    <span className="badge" data-state={stateNameOf(upload)}>
      {stateText(upload, texts)}
    </span>
  )
}

export function ProgressBar({ upload }: PartProps) {
  const { texts } = useWords()
  const progress = progressOf(upload)
  // A bar without a value says that something goes on.
  const goesOn = isActive(upload) && !isIdle(upload)
  const value = progress ?? (goesOn ? undefined : 0)
  return (
    <progress
      className="bar"
      data-state={stateNameOf(upload)}
      max={100}
      value={value}
      aria-label={fill(texts.progressOf, { name: nameOf(upload, texts) })}
    />
  )
}
