/** Where files are dropped or chosen. A label of a real file input, so the keyboard can do it, too. */

import { type ChangeEvent, type DragEvent, type RefObject, useId, useState } from 'react'
import { Icon } from './icons.tsx'
import type { Texts } from './texts.ts'

/** `folders` are entries that look like files and cannot be read. */
export type OnFiles = (files: File[], folders: File[]) => void

interface DropZoneProps {
  readonly texts: Texts
  readonly accept: string
  readonly multiple: boolean
  readonly hint: string
  readonly input: RefObject<HTMLInputElement | null>
  readonly onFiles: OnFiles
}

export function DropZone({ texts, accept, multiple, hint, input, onFiles }: DropZoneProps) {
  const id = useId()
  const { isOver, handlers } = useDrop(multiple, onFiles)
  const choose = (event: ChangeEvent<HTMLInputElement>) => {
    onFiles([...(event.target.files ?? [])], [])
    // The same file can then be chosen again.
    event.target.value = ''
  }
  return (
    <div className="tus-drop" data-over={isOver || undefined} {...handlers}>
      <input
        ref={input}
        id={id}
        className="tus-hidden"
        type="file"
        accept={accept || undefined}
        multiple={multiple}
        aria-describedby={hint === '' ? undefined : `${id}-hint`}
        onChange={choose}
      />
      <label className="tus-drop-label" htmlFor={id}>
        <span className="tus-drop-icon">
          <Icon name="upload" />
        </span>
        <span className="tus-drop-text">
          {isOver ? texts.dropHere : texts.drop}{' '}
          {!isOver && <span className="tus-link">{texts.choose}</span>}
        </span>
      </label>
      {hint !== '' && (
        <p className="tus-hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  )
}

function useDrop(multiple: boolean, onFiles: OnFiles) {
  // Enter and leave come for the children as well.
  const [depth, setDepth] = useState(0)
  const isOfFiles = (event: DragEvent) => event.dataTransfer.types.includes('Files')
  const handlers = {
    onDragEnter: (event: DragEvent) => isOfFiles(event) && setDepth((before) => before + 1),
    onDragLeave: (event: DragEvent) =>
      isOfFiles(event) && setDepth((before) => Math.max(0, before - 1)),
    onDragOver: (event: DragEvent) => isOfFiles(event) && event.preventDefault(),
    onDrop: (event: DragEvent) => {
      if (!isOfFiles(event)) return
      event.preventDefault()
      setDepth(0)
      const { files, folders } = dropped(event.dataTransfer)
      onFiles(multiple ? files : files.slice(0, 1), folders)
    },
  }
  return { isOver: depth > 0, handlers }
}

function dropped(data: DataTransfer): { files: File[]; folders: File[] } {
  const files: File[] = []
  const folders: File[] = []
  for (const item of data.items) {
    const file = item.kind === 'file' ? item.getAsFile() : null
    if (file === null) continue
    if (item.webkitGetAsEntry?.()?.isDirectory) folders.push(file)
    else files.push(file)
  }
  return { files, folders }
}
