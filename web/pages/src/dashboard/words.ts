/** Texts and formats of the reader's language, for all parts of the dashboard. */

import { createContext, useContext } from 'react'
import { type Formats, formatsFor } from 'tusserver-react'
import { type Moments, momentsFor } from './core/moments.ts'
import { isIdle, type Upload } from './core/upload.ts'
import { type DashboardTexts, dashboardTextsFor, type StateName } from './texts.ts'

export interface Words {
  readonly texts: DashboardTexts
  readonly formats: Formats
  readonly moments: Moments
}

export function wordsFor(language: string): Words {
  const texts = dashboardTextsFor(language)
  return { texts, formats: formatsFor(texts.locale), moments: momentsFor(texts.locale) }
}

export const WordsContext = createContext<Words>(wordsFor('en'))

export function useWords(): Words {
  return useContext(WordsContext)
}

export function stateNameOf(upload: Upload): StateName {
  return isIdle(upload) ? 'idle' : upload.state
}

/** The state in words; for what is being checked, the step. */
export function stateText(upload: Upload, texts: DashboardTexts): string {
  const step = upload.state === 'finishing' ? upload.finish?.step : undefined
  return texts.steps[step ?? ''] ?? texts.stateNames[stateNameOf(upload)]
}

export function nameOf(upload: Upload, texts: DashboardTexts): string {
  return upload.filename ?? texts.noName
}
