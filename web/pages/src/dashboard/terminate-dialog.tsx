/** Asks before an upload is terminated, and says why if that does not work. */

import { useId, useState } from 'react'
import { fill } from 'tusserver-react'
import { Refused } from './api.ts'
import { isActive, type Upload } from './core/upload.ts'
import type { Dashboard } from './dashboard.ts'
import { Modal } from './modal.tsx'
import type { DashboardTexts } from './texts.ts'
import { nameOf, useWords } from './words.ts'

interface TerminateDialogProps {
  readonly id: string
  readonly dashboard: Dashboard
  readonly onClose: () => void
}

export function TerminateDialog({ id, dashboard, onClose }: TerminateDialogProps) {
  const ownId = useId()
  const { texts } = useWords()
  const [isBusy, setBusy] = useState(false)
  const [failure, setFailure] = useState('')
  const upload = dashboard.find(id)
  const terminate = async () => {
    setBusy(true)
    setFailure('')
    try {
      await dashboard.terminate(id)
      onClose()
    } catch (error) {
      setFailure(failureText(error, texts))
      setBusy(false)
    }
  }
  const isEnded = upload !== null && !isActive(upload)
  return (
    <Modal
      className="question"
      role="alertdialog"
      labelledBy={`${ownId}-title`}
      describedBy={`${ownId}-text`}
      onClose={onClose}
    >
      <h2 id={`${ownId}-title`}>{isEnded ? texts.removeTitle : texts.terminateTitle}</h2>
      <p id={`${ownId}-text`}>{consequence(upload, texts)}</p>
      <p className="is-bad" role="alert">
        {failure}
      </p>
      <div className="question-actions">
        <button type="button" className="secondary" onClick={onClose}>
          {texts.keep}
        </button>
        <button
          type="button"
          className="danger"
          disabled={isBusy || upload === null}
          onClick={terminate}
        >
          {isBusy ? texts.terminating : isEnded ? texts.remove : texts.terminate}
        </button>
      </div>
    </Modal>
  )
}

function consequence(upload: Upload | null, texts: DashboardTexts): string {
  if (upload === null) return texts.gone
  const name = nameOf(upload, texts)
  if (isActive(upload)) return fill(texts.terminateText, { name })
  const { place } = upload
  return place === null
    ? fill(texts.removeText, { name })
    : fill(texts.removePlaced, { name, place })
}

/** What it means, and the server's own sentence behind it. */
function failureText(error: unknown, texts: DashboardTexts): string {
  if (!(error instanceof Refused)) return texts.unreachable
  const known: Readonly<Record<number, string>> = { 403: texts.forbidden, 423: texts.locked }
  const { status, message } = error
  return `${known[status] ?? texts.notTerminated} ${sentenceOf(message)}`.trim()
}

function sentenceOf(message: string): string {
  return message === '' ? '' : `${message.charAt(0).toUpperCase()}${message.slice(1)}.`
}
