// biome-ignore-all lint/a11y/noRedundantRoles: style sheets make cards of rows, which takes their roles away
/** One upload in the table. */

import { memo, type ReactNode } from 'react'
import { fill } from 'tusserver-react'
import { isActive, progressOf, secondsLeft, type Upload } from './core/upload.ts'
import { Icon } from './icons.tsx'
import { ProgressBar, StateBadge } from './upload-parts.tsx'
import { nameOf, useWords } from './words.ts'

interface UploadRowProps {
  readonly upload: Upload
  /** As `3 min. ago`. */
  readonly age: string
  readonly hasOwner: boolean
  readonly onShow: (id: string) => void
  readonly onTerminate: (id: string) => void
}

/** Drawn anew only when something in it is another: there may be thousands. */
export const UploadRow = memo(function UploadRow(props: UploadRowProps) {
  const { upload, age, hasOwner, onTerminate } = props
  const { texts, formats, moments } = useWords()
  const { length, offset, rate, state } = upload
  const left = secondsLeft(upload)
  const isMoving = state === 'uploading' && rate !== null
  return (
    <tr role="row" data-state={state}>
      <NameCell {...props} />
      {hasOwner && <Cell column="owner">{upload.owner ?? texts.none}</Cell>}
      <Cell column="size">{formats.bytes(length ?? offset)}</Cell>
      <ProgressCell upload={upload} />
      <Cell column="state">
        <StateBadge upload={upload} />
      </Cell>
      <Cell column="speed">{isMoving && formats.rate(rate)}</Cell>
      <Cell column="left" label={texts.left}>
        {left !== null && formats.duration(left)}
      </Cell>
      <Cell column="created">
        <time dateTime={upload.created} title={moments.exact(upload.createdAt)}>
          {age}
        </time>
      </Cell>
      <Cell column="actions">
        {isActive(upload) && (
          <button
            type="button"
            className="icon-button"
            aria-label={fill(texts.terminateNamed, { name: nameOf(upload, texts) })}
            title={texts.terminate}
            onClick={() => onTerminate(upload.id)}
          >
            <Icon name="terminate" />
          </button>
        )}
      </Cell>
    </tr>
  )
})

interface CellProps {
  readonly column: string
  /** What it is, where there is no head above it. */
  readonly label?: string
  readonly children?: ReactNode
}

function Cell({ column, label, children }: CellProps) {
  return (
    <td
      role="cell"
      className={`col-${column}`}
      data-empty={children === false || children === null || undefined}
    >
      {label !== undefined && <span className="cell-label">{label}</span>}
      {children}
    </td>
  )
}

function NameCell({ upload, onShow }: UploadRowProps) {
  const { texts } = useWords()
  const name = nameOf(upload, texts)
  const { refusal, place, destination, concat } = upload
  const more =
    refusal?.message ?? place ?? destination ?? (concat === 'partial' ? texts.part : null)
  return (
    <th role="rowheader" scope="row" className="col-name">
      <button type="button" className="name" title={name} onClick={() => onShow(upload.id)}>
        {name}
      </button>
      {more !== null && (
        <span className={refusal === null ? 'name-more' : 'name-more is-bad'} title={more}>
          {more}
        </span>
      )}
    </th>
  )
}

function ProgressCell({ upload }: { readonly upload: Upload }) {
  const { formats } = useWords()
  const progress = progressOf(upload)
  return (
    <Cell column="progress">
      <span className="progress">
        <ProgressBar upload={upload} />
        <span className="percent">{progress !== null && formats.percent(progress)}</span>
      </span>
    </Cell>
  )
}
