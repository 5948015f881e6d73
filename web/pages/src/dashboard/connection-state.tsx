/** Whether the figures are live; if not, when they will be. */

import { fill } from 'tusserver-react'
import type { Connection } from './live-stream.ts'
import { useWords } from './words.ts'

interface ConnectionStateProps {
  readonly connection: Connection
  readonly now: number
  readonly onRetry: () => void
}

export function ConnectionState({ connection, now, onRetry }: ConnectionStateProps) {
  const { texts, formats } = useWords()
  const { kind } = connection
  if (kind !== 'broken') {
    return (
      <p className="connection" data-kind={kind} role="status">
        {texts[kind]}
      </p>
    )
  }
  const { retryAt, message } = connection
  const isWaiting = retryAt !== null
  const time = isWaiting ? formats.duration(Math.max(0, retryAt - now) / 1000) : ''
  return (
    <div className="connection" data-kind={kind}>
      {/* The seconds are not for screen readers, which would read every one of them. */}
      <p className="hidden" role="status">
        {texts.trying}
      </p>
      <p aria-hidden="true">
        {isWaiting ? fill(texts.broken, { time }) : texts.trying}
        {message !== '' && ` (${message})`}
      </p>
      {isWaiting && (
        <button type="button" className="quiet" onClick={onRetry}>
          {texts.tryNow}
        </button>
      )}
    </div>
  )
}
