/** A text to take along. */

import { useId, useRef, useState } from 'react'
import { useWords } from './words.ts'

interface CopyFieldProps {
  readonly label: string
  readonly value: string
}

export function CopyField({ label, value }: CopyFieldProps) {
  const id = useId()
  const { texts } = useWords()
  const field = useRef<HTMLInputElement>(null)
  const [copied, setCopied] = useState('')
  const copy = async () => {
    if (await hasCopied(value, field.current)) setCopied(value)
  }
  return (
    <div className="copy">
      <label htmlFor={id}>{label}</label>
      <div className="field-row">
        <input
          id={id}
          ref={field}
          type="text"
          readOnly
          value={value}
          onFocus={(event) => event.target.select()}
        />
        <button type="button" className="secondary" onClick={copy}>
          {copied === value ? texts.copied : texts.copy}
        </button>
      </div>
      <p className="hidden" role="status">
        {copied === value && texts.copied}
      </p>
    </div>
  )
}

/** Without HTTPS browsers have no clipboard to write to, but can copy what is selected. */
async function hasCopied(text: string, field: HTMLInputElement | null): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    field?.select()
    return document.execCommand('copy')
  }
}
