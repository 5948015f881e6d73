/** Says to screen readers which uploads have come into another state, and no more than that. */

import { useEffect, useState } from 'react'
import { fill } from 'tusserver-react'
import type { Change } from './core/upload-store.ts'
import { nameOf, useWords } from './words.ts'

const MOST = 3

export function Announcer({ changes }: { readonly changes: readonly Change[] }) {
  const { texts } = useWords()
  const [said, setSaid] = useState('')
  useEffect(() => {
    if (changes.length === 0) return
    const sentences = changes.map(({ upload }) =>
      fill(texts.changedTo, {
        name: nameOf(upload, texts),
        state: texts.stateNames[upload.state],
      }),
    )
    const many = fill(texts.manyChanged, { count: changes.length })
    setSaid(changes.length > MOST ? many : sentences.join('\n'))
  }, [changes, texts])
  return (
    <p className="hidden" role="status" aria-live="polite">
      {said}
    </p>
  )
}
