/** One file in the list: what it is, how it gets on, and what can be done. */

import { memo } from 'react'
import { MAX_RETRIES } from './core/backoff.ts'
import type { Formats } from './core/format.ts'
import { Icon, type IconName } from './icons.tsx'
import { failureText, fill, type Texts } from './texts.ts'
import { isRunning } from './transfer.ts'
import type { UploadItem, UploadQueue } from './upload-queue.ts'

interface RowProps {
  readonly item: UploadItem
  readonly queue: UploadQueue
  readonly texts: Texts
  readonly formats: Formats
}

export const UploadRow = memo(function UploadRow({ item, queue, texts, formats }: RowProps) {
  return (
    <li className="tus-row" data-status={item.status}>
      <span className="tus-badge">
        <Icon name={badgeOf(item)} />
      </span>
      <div className="tus-main">
        <p className="tus-name" title={item.file.name}>
          <bdi>{item.file.name}</bdi>
        </p>
        <Bar item={item} texts={texts} />
        <p className="tus-state">{stateText(item, texts, formats)}</p>
      </div>
      <div className="tus-actions">
        {actionsFor(item).map((action) => (
          <Action key={placeOf(action)} action={action} item={item} queue={queue} texts={texts} />
        ))}
      </div>
    </li>
  )
})

function badgeOf({ status }: UploadItem): IconName {
  if (status === 'completed') return 'done'
  return status === 'error' ? 'failed' : 'file'
}

function Bar({ item, texts }: { readonly item: UploadItem; readonly texts: Texts }) {
  const isAhead = item.status === 'queued' && item.sent === 0
  if (isAhead || item.status === 'completed' || item.error?.canRetry === false) return null
  // Without a value it shows that something goes on, not how far it is.
  const value = item.status === 'finishing' ? {} : { value: item.progress }
  const label = fill(texts.actionFor, { action: texts.list, name: item.file.name })
  return <progress className="tus-bar" max={100} aria-label={label} {...value} />
}

/** The state of an upload in one line. */
export function stateText(item: UploadItem, texts: Texts, formats: Formats): string {
  const size = formats.bytes(item.size)
  if (item.status === 'completed') return `${texts.completed} · ${size}`
  if (item.status === 'finishing') return texts.finishing
  if (item.status === 'queued') return `${texts.queued} · ${size}`
  if (item.error !== null) return errorText(item, texts, formats)
  const amount = fill(texts.amount, { done: formats.bytes(item.sent), size })
  const percent = formats.percent(item.progress)
  if (item.status === 'paused') return [texts.paused, percent, amount].join(' · ')
  const pace = paceText(item, texts, formats)
  return [percent, amount, ...pace].join(' · ')
}

function paceText({ speed, eta }: UploadItem, texts: Texts, formats: Formats): string[] {
  const pace = speed === null ? [] : [formats.rate(speed)]
  return eta === null ? pace : [...pace, fill(texts.left, { time: formats.duration(eta) })]
}

function errorText(item: UploadItem, texts: Texts, formats: Formats): string {
  const { error, attempt } = item
  if (error === null) return ''
  if (!isRunning(item.status)) return `${failureText(error, texts)} · ${formats.bytes(item.size)}`
  if (error.kind === 'offline') return texts.offline
  const trying = fill(texts.retrying, { attempt, most: MAX_RETRIES })
  return `${failureText(error, texts)} ${trying}`
}

type ActionName = 'pause' | 'resume' | 'retry' | 'cancel' | 'remove'

/** A button that comes in the place of another one is the same, so that it keeps the focus. */
function placeOf(action: ActionName): string {
  return action === 'cancel' || action === 'remove' ? 'last' : 'first'
}

function actionsFor({ status, error }: UploadItem): ActionName[] {
  switch (status) {
    case 'uploading':
    case 'queued':
      return ['pause', 'cancel']
    case 'paused':
      return ['resume', 'cancel']
    case 'error':
      return error?.canRetry ? ['retry', 'remove'] : ['remove']
    case 'completed':
      return ['remove']
    default:
      return ['cancel']
  }
}

interface ActionProps {
  readonly action: ActionName
  readonly item: UploadItem
  readonly queue: UploadQueue
  readonly texts: Texts
}

function Action({ action, item, queue, texts }: ActionProps) {
  const act = () => {
    if (action === 'pause') queue.pause(item.id)
    else if (action === 'resume' || action === 'retry') queue.resume(item.id)
    else void queue.cancel(item.id)
  }
  return (
    <button
      type="button"
      className="tus-button"
      aria-label={fill(texts.actionFor, { action: texts[action], name: item.file.name })}
      title={texts[action]}
      onClick={act}
    >
      <Icon name={action === 'remove' ? 'cancel' : action} />
      {(action === 'resume' || action === 'retry') && <span>{texts[action]}</span>}
    </button>
  )
}
