/** The whole uploader: drop zone, list, and what goes with them. */

import { type RefObject, useMemo, useRef } from 'react'
import { Announcer } from './announcer.tsx'
import { type Formats, formatsFor } from './core/format.ts'
import { DropZone } from './drop-zone.tsx'
import { fill, type Texts, textsFor } from './texts.ts'
import { Unfinished } from './unfinished.tsx'
import type { QueueOptions, UploadItem, UploadQueue } from './upload-queue.ts'
import { UploadRow } from './upload-row.tsx'
import { useUploadQueue } from './use-upload-queue.ts'

/** Props of `FileUploader`. */
export interface FileUploaderProps extends QueueOptions {
  /** More than one file; true if nothing is said. */
  readonly multiple?: boolean | undefined
  readonly className?: string | undefined
  /** `auto` follows the system. */
  readonly theme?: 'auto' | 'light' | 'dark' | undefined
  /** Language tag of the shipped texts; that of the browser if nothing is said. */
  readonly language?: string | undefined
  /** Replace some of the texts, or all. */
  readonly texts?: Partial<Texts> | undefined
}

export function FileUploader(props: FileUploaderProps) {
  const { className = '', theme = 'auto', accept = '', multiple = true } = props
  const texts = useTexts(props.language, props.texts)
  const formats = useMemo(() => formatsFor(texts.locale), [texts.locale])
  const { items, queue } = useUploadQueue(props)
  const input = useRef<HTMLInputElement>(null)
  const present = useMemo(() => new Set(items.map((item) => item.file.name)), [items])
  const add = (files: File[], folders: File[]) => {
    queue.add(files)
    if (folders.length > 0) queue.add(folders, 'folder')
  }
  return (
    <div className={`tus-uploader ${className}`.trim()} data-theme={theme} lang={texts.locale}>
      <DropZone
        texts={texts}
        accept={accept}
        multiple={multiple}
        hint={hintFor(props, texts, formats)}
        input={input}
        onFiles={add}
      />
      <Unfinished texts={texts} options={props} present={present} />
      {items.length > 0 && (
        <List items={items} queue={queue} texts={texts} formats={formats} input={input} />
      )}
      <Announcer items={items} texts={texts} formats={formats} />
    </div>
  )
}

function useTexts(language: string | undefined, changes: Partial<Texts> | undefined): Texts {
  const base = textsFor(language ?? globalThis.navigator?.language ?? 'en')
  return useMemo(() => ({ ...base, ...changes }), [base, changes])
}

function hintFor({ accept, maxSize }: FileUploaderProps, texts: Texts, formats: Formats): string {
  const types = accept?.split(',').map((pattern) => pattern.trim().replace(/^\./, ''))
  const hints = [
    types && accept !== '' ? fill(texts.limits.types, { types: types.join(', ') }) : '',
    maxSize != null ? fill(texts.limits.size, { size: formats.bytes(maxSize) }) : '',
  ]
  return hints.filter((hint) => hint !== '').join(' · ')
}

interface ListProps {
  readonly items: readonly UploadItem[]
  readonly queue: UploadQueue
  readonly texts: Texts
  readonly formats: Formats
  readonly input: RefObject<HTMLInputElement | null>
}

function List({ items, queue, texts, formats, input }: ListProps) {
  const done = items.filter((item) => item.status === 'completed').length
  const another = () => {
    queue.clearCompleted()
    input.current?.click()
  }
  return (
    <section className="tus-list" aria-label={texts.list}>
      <div className="tus-list-head">
        <p>{fill(texts.summary, { done, count: items.length })}</p>
        {done === items.length ? (
          <button type="button" className="tus-text-button" onClick={another}>
            {texts.another}
          </button>
        ) : (
          done > 0 && (
            <button
              type="button"
              className="tus-text-button"
              onClick={() => queue.clearCompleted()}
            >
              {texts.clear}
            </button>
          )
        )}
      </div>
      <ul>
        {items.map((item) => (
          <UploadRow key={item.id} item={item} queue={queue} texts={texts} formats={formats} />
        ))}
      </ul>
    </section>
  )
}
