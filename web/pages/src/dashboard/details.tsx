/** Everything that the server tells about one upload. */

import { type ReactNode, useId } from 'react'
import { fill } from 'tusserver-react'
import { CopyField } from './copy-field.tsx'
import { isActive, progressOf, secondsLeft, type Upload } from './core/upload.ts'
import type { Dashboard } from './dashboard.ts'
import { Icon } from './icons.tsx'
import { Modal } from './modal.tsx'
import { RateGraph } from './rate-graph.tsx'
import { ProgressBar, StateBadge } from './upload-parts.tsx'
import { nameOf, useWords } from './words.ts'

interface DetailsProps {
  readonly id: string
  readonly now: number
  readonly dashboard: Dashboard
  readonly onTerminate: (id: string) => void
  readonly onClose: () => void
}

export function Details({ id, now, dashboard, onTerminate, onClose }: DetailsProps) {
  const titleId = useId()
  const { texts } = useWords()
  const upload = dashboard.find(id)
  return (
    <Modal className="drawer" labelledBy={titleId} onClose={onClose}>
      <div className="drawer-head">
        <h2 id={titleId}>{upload === null ? texts.details : nameOf(upload, texts)}</h2>
        <button type="button" className="icon-button" aria-label={texts.close} onClick={onClose}>
          <Icon name="close" />
        </button>
      </div>
      {upload === null ? (
        <p className="drawer-body">{texts.gone}</p>
      ) : (
        <div className="drawer-body">
          <Standing upload={upload} />
          {upload.state === 'uploading' && (
            <RateGraph title={texts.rate} samples={dashboard.ratesOf(id)} now={now} />
          )}
          <Facts upload={upload} now={now} />
          <CopyField label={texts.url} value={dashboard.urlOf(id)} />
          <Metadata upload={upload} />
          <button type="button" className="danger" onClick={() => onTerminate(id)}>
            {isActive(upload) ? texts.terminate : texts.remove}
          </button>
        </div>
      )}
    </Modal>
  )
}

/** How it gets on, or what became of it. */
function Standing({ upload }: { readonly upload: Upload }) {
  const { texts, formats } = useWords()
  const { length, offset, refusal } = upload
  const progress = progressOf(upload)
  const left = secondsLeft(upload)
  const parts = [
    length === null
      ? formats.bytes(offset)
      : fill(texts.receivedOf, { offset: formats.bytes(offset), length: formats.bytes(length) }),
    left === null ? '' : `${texts.left}: ${formats.duration(left)}`,
  ]
  return (
    <div className="standing">
      <div className="standing-head">
        <StateBadge upload={upload} />
        {isActive(upload) && progress !== null && <strong>{formats.percent(progress)}</strong>}
      </div>
      <ProgressBar upload={upload} />
      <p>{parts.filter((part) => part !== '').join(' · ')}</p>
      {refusal !== null && (
        <p className="refusal">
          {refusal.message} <code>{refusal.code}</code>
        </p>
      )}
    </div>
  )
}

interface FactsProps {
  readonly upload: Upload
  readonly now: number
}

function Facts({ upload, now }: FactsProps) {
  const { texts, moments } = useWords()
  const { concat, expires, scan } = upload
  const kinds = { partial: texts.part, final: texts.joined }
  return (
    <dl className="facts">
      <Fact name={texts.owner}>{upload.owner}</Fact>
      <Fact name={texts.place} isCode>
        {upload.place}
      </Fact>
      <Fact name={texts.destination} isCode>
        {upload.destination}
      </Fact>
      <Fact name={texts.scan}>{scan === 'clean' ? texts.scanClean : scan}</Fact>
      {Object.entries(upload.digests).map(([algorithm, digest]) => (
        <Fact key={algorithm} name={fill(texts.digest, { algorithm })} isCode>
          {digest}
        </Fact>
      ))}
      <Fact name={texts.kind}>{concat === null ? null : kinds[concat]}</Fact>
      <Fact name={texts.started}>{moments.exact(upload.createdAt)}</Fact>
      <Fact name={texts.changed}>{moments.exact(upload.modifiedAt)}</Fact>
      <Fact name={texts.expires}>
        {expires === null
          ? texts.never
          : `${moments.exact(Date.parse(expires))} (${moments.relative(Date.parse(expires), now)})`}
      </Fact>
      <Fact name={texts.id} isCode>
        {upload.id}
      </Fact>
    </dl>
  )
}

interface FactProps {
  readonly name: string
  readonly isCode?: boolean
  readonly children: ReactNode
}

/** Nothing where there is nothing to tell. */
function Fact({ name, isCode = false, children }: FactProps) {
  if (children === null) return null
  return (
    <div>
      <dt>{name}</dt>
      <dd>{isCode ? <code>{children}</code> : children}</dd>
    </div>
  )
}

function Metadata({ upload }: { readonly upload: Upload }) {
  const id = useId()
  const { texts } = useWords()
  const entries = Object.entries(upload.metadata)
  if (entries.length === 0) return null
  return (
    <section aria-labelledby={id}>
      <h3 id={id}>{texts.metadata}</h3>
      <dl className="facts">
        {entries.map(([key, value]) => (
          <Fact key={key} name={key}>
            {value === '' ? texts.none : value}
          </Fact>
        ))}
      </dl>
    </section>
  )
}
