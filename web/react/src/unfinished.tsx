/** What was left unfinished at an earlier visit; browsers want the file to be chosen again. */

import { useCallback, useEffect, useState } from 'react'
import type { PreviousUpload } from 'tus-js-client'
import { fill, type Texts } from './texts.ts'
import { forgetKept, keptUploads, type TransferOptions } from './transfer.ts'

interface UnfinishedProps {
  readonly texts: Texts
  readonly options: TransferOptions
  /** Names of the files in the list, which are not unfinished any more. */
  readonly present: ReadonlySet<string>
}

export function Unfinished({ texts, options, present }: UnfinishedProps) {
  const [kept, setKept] = useKept(options.endpoint)
  const shown = kept.filter((entry) => !present.has(entry.metadata.filename ?? ''))
  if (shown.length === 0) return null
  const forget = (entry: PreviousUpload) => {
    setKept((before) => before.filter((each) => each !== entry))
    void forgetKept(entry, { token: options.token, withCredentials: options.withCredentials })
  }
  return (
    <div className="tus-unfinished">
      <p>{texts.unfinished}</p>
      <ul>
        {shown.map((entry) => {
          const name = entry.metadata.filename ?? ''
          const label = fill(texts.actionFor, { action: texts.forget, name })
          return (
            <li key={entry.urlStorageKey}>
              <bdi>{name}</bdi>
              <button
                type="button"
                className="tus-text-button"
                aria-label={label}
                onClick={() => forget(entry)}
              >
                {texts.forget}
              </button>
            </li>
          )
        })}
      </ul>
    </div>
  )
}

function useKept(endpoint: string) {
  const [kept, setKept] = useState<PreviousUpload[]>([])
  const load = useCallback(async () => {
    const key = encodeURIComponent(new URL(endpoint, document.baseURI).href)
    const all = await keptUploads()
    setKept(all.filter((entry) => entry.urlStorageKey.includes(`/${key}/`)))
  }, [endpoint])
  useEffect(() => {
    void load()
  }, [load])
  return [kept, setKept] as const
}
