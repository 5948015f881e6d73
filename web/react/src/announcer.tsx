/**
 * Says to screen readers what has changed: every change of a state, and every quarter of the way.
 * More would drown what else is to be heard.
 */

import { useEffect, useRef, useState } from 'react'
import type { Formats } from './core/format.ts'
import { fill, type Texts } from './texts.ts'
import type { UploadItem } from './upload-queue.ts'
import { stateText } from './upload-row.tsx'

interface AnnouncerProps {
  readonly items: readonly UploadItem[]
  readonly texts: Texts
  readonly formats: Formats
}

export function Announcer({ items, texts, formats }: AnnouncerProps) {
  const [said, setSaid] = useState('')
  const marks = useRef(new Map<string, string>())
  useEffect(() => {
    const changed = items.filter((item) => marks.current.get(item.id) !== markOf(item))
    marks.current = new Map(items.map((item) => [item.id, markOf(item)]))
    if (changed.length === 0) return
    const sentences = changed.map((item) =>
      fill(texts.announcement, { name: item.file.name, state: stateText(item, texts, formats) }),
    )
    setSaid(sentences.join('\n'))
  }, [items, texts, formats])
  return (
    <p className="tus-hidden" role="status" aria-live="polite">
      {said}
    </p>
  )
}

function markOf({ status, progress, error }: UploadItem): string {
  const quarter = status === 'uploading' ? Math.floor(progress / 25) : ''
  return `${status} ${quarter} ${error?.kind ?? ''}`
}
