/** The figures above the list. */

import type { ReactNode } from 'react'
import { fill } from 'tusserver-react'
import type { Snapshot } from './dashboard.ts'
import { Meter } from './meter.tsx'
import { useWords } from './words.ts'

export function Summary({ snapshot }: { readonly snapshot: Snapshot }) {
  const { texts } = useWords()
  return (
    <section className="tiles" aria-label={texts.summary}>
      <Active snapshot={snapshot} />
      <Today snapshot={snapshot} />
      <Stored snapshot={snapshot} />
      <Room snapshot={snapshot} />
    </section>
  )
}

interface TileProps {
  readonly title: string
  readonly value: string
  readonly detail?: string
  readonly children?: ReactNode
}

function Tile({ title, value, detail = '', children }: TileProps) {
  return (
    <div className="tile">
      <h2>{title}</h2>
      <p className="tile-value">
        {value} {detail !== '' && <small>{detail}</small>}
      </p>
      {children}
    </div>
  )
}

function Active({ snapshot: { tally } }: { readonly snapshot: Snapshot }) {
  const { texts } = useWords()
  const { uploading, finishing, idle } = tally
  const details = [
    idle > 0 ? fill(texts.idleCount, { count: idle }) : '',
    finishing > 0 ? fill(texts.finishingCount, { count: finishing }) : '',
  ]
  return (
    <Tile
      title={texts.active}
      value={(uploading + finishing).toLocaleString(texts.locale)}
      detail={details.filter((text) => text !== '').join(' · ')}
    />
  )
}

function Today({ snapshot: { tally, isTallyLow } }: { readonly snapshot: Snapshot }) {
  const { texts } = useWords()
  const { finishedToday, refusedToday } = tally
  return (
    <Tile
      title={texts.today}
      value={`${finishedToday.toLocaleString(texts.locale)}${isTallyLow ? '+' : ''}`}
      detail={refusedToday > 0 ? fill(texts.refusedCount, { count: refusedToday }) : ''}
    />
  )
}

function Stored({ snapshot: { storage } }: { readonly snapshot: Snapshot }) {
  const { texts, formats } = useWords()
  if (storage === null) return <Tile title={texts.stored} value={texts.none} />
  const { used_by: used, quota } = storage
  const count = fill(texts.uploadCount, { count: used.uploads.toLocaleString(texts.locale) })
  if (quota.size === null) {
    return <Tile title={texts.stored} value={formats.bytes(used.size)} detail={count} />
  }
  const limit = fill(texts.ofQuota, { quota: formats.bytes(quota.size) })
  return (
    <Tile title={texts.stored} value={formats.bytes(used.size)} detail={limit}>
      <Meter label={texts.stored} share={used.size / Math.max(1, quota.size)} />
    </Tile>
  )
}

function Room({ snapshot: { disk } }: { readonly snapshot: Snapshot }) {
  const { texts, formats } = useWords()
  if (disk === null) return <Tile title={texts.room} value={texts.none} />
  const detail = fill(texts.roomOf, { total: formats.bytes(disk.total) })
  return (
    <Tile title={texts.room} value={formats.bytes(disk.free)} detail={detail}>
      <Meter label={texts.roomUsed} share={1 - disk.free / Math.max(1, disk.total)} />
    </Tile>
  )
}
