// biome-ignore-all lint/a11y/noRedundantRoles: style sheets make cards of rows, which takes their roles away
/** The table of uploads; on a phone its rows are cards. */

import { fill } from 'tusserver-react'
import { type Column, columnOf, EVERYTHING, isDescending, type Query } from './core/query.ts'
import type { Dashboard, Snapshot } from './dashboard.ts'
import { Icon } from './icons.tsx'
import { UploadRow } from './upload-row.tsx'
import { useWords } from './words.ts'

interface UploadListProps {
  readonly snapshot: Snapshot
  readonly hasOwners: boolean
  readonly dashboard: Dashboard
  readonly onShow: (id: string) => void
  readonly onTerminate: (id: string) => void
}

export function UploadList(props: UploadListProps) {
  const { snapshot, dashboard } = props
  const { texts } = useWords()
  const { rows, total, isLoading } = snapshot
  return (
    <section className="list" aria-label={texts.list} aria-busy={isLoading}>
      {rows.length > 0 && <Table {...props} />}
      <Message {...props} />
      {rows.length > 0 && (
        <div className="list-foot">
          <p>
            {fill(texts.shown, { shown: rows.length, total: total.toLocaleString(texts.locale) })}
          </p>
          {rows.length < total && (
            <button type="button" className="quiet" onClick={() => dashboard.showMore()}>
              {isLoading ? texts.loading : texts.more}
            </button>
          )}
        </div>
      )}
    </section>
  )
}

/** Why there is nothing to see, or not all. */
function Message({ snapshot, dashboard }: UploadListProps) {
  const { texts } = useWords()
  const { rows, isLoading, failure, query } = snapshot
  if (failure !== null) {
    return (
      <div className="list-message" role="alert">
        <p>
          {texts.failure} {failure}
        </p>
        <button type="button" className="quiet" onClick={() => dashboard.loadAgain()}>
          {texts.again}
        </button>
      </div>
    )
  }
  if (rows.length > 0) return null
  if (isLoading) return <p className="list-message">{texts.loading}</p>
  if (!isFiltered(query)) return <p className="list-message">{texts.empty}</p>
  return (
    <div className="list-message">
      <p>{texts.emptyFiltered}</p>
      <button type="button" className="quiet" onClick={() => dashboard.show(unfiltered(query))}>
        {texts.clearFilters}
      </button>
    </div>
  )
}

function isFiltered({ state, owner, name }: Query): boolean {
  return state !== 'all' || owner !== '' || name !== ''
}

function unfiltered({ order }: Query): Query {
  return { ...EVERYTHING, order }
}

function Table({ snapshot, hasOwners, dashboard, onShow, onTerminate }: UploadListProps) {
  const { texts, moments } = useWords()
  const { rows, query, now } = snapshot
  const sorted = (column: Column, label: string) => (
    <SortHead
      column={column}
      label={label}
      query={query}
      onQuery={(wanted) => dashboard.show(wanted)}
    />
  )
  return (
    <table role="table">
      <thead role="rowgroup">
        <tr role="row">
          {sorted('name', texts.file)}
          {hasOwners && <Head className="col-owner" label={texts.owner} />}
          {sorted('size', texts.size)}
          <Head className="col-progress" label={texts.progress} />
          <Head className="col-state" label={texts.state} />
          <Head className="col-speed is-number" label={texts.speed} />
          <Head className="col-left is-number" label={texts.left} />
          {sorted('created', texts.started)}
          <th role="columnheader" scope="col" className="col-actions">
            <span className="hidden">{texts.actions}</span>
          </th>
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((upload) => (
          <UploadRow
            key={upload.id}
            upload={upload}
            age={moments.relative(upload.createdAt, now)}
            hasOwner={hasOwners}
            onShow={onShow}
            onTerminate={onTerminate}
          />
        ))}
      </tbody>
    </table>
  )
}

function Head({ className, label }: { readonly className: string; readonly label: string }) {
  return (
    <th role="columnheader" scope="col" className={className}>
      {label}
    </th>
  )
}

interface SortHeadProps {
  readonly column: Column
  readonly label: string
  readonly query: Query
  readonly onQuery: (query: Query) => void
}

function SortHead({ column, label, query, onQuery }: SortHeadProps) {
  const isSorted = columnOf(query.order) === column
  const isDown = isDescending(query.order)
  // The largest and the newest are what one looks for first; names begin with A.
  const startsDown = column !== 'name'
  const next = (isSorted ? !isDown : startsDown) ? (`-${column}` as const) : column
  return (
    <th
      role="columnheader"
      scope="col"
      className={`col-${column}`}
      aria-sort={isSorted ? (isDown ? 'descending' : 'ascending') : 'none'}
    >
      <button type="button" onClick={() => onQuery({ ...query, order: next })}>
        {label}
        {isSorted && <Icon name={isDown ? 'down' : 'up'} />}
      </button>
    </th>
  )
}
