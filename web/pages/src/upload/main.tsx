/** Starts the upload page. */

import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import 'tusserver-react/styles.css'
import '../shared/page.css'
import { factsOf } from '../shared/facts.ts'
import { pageTextsFor } from './texts.ts'
import { UploadPage } from './upload-page.tsx'

const root = document.getElementById('root')
if (root === null) throw new Error('the page has no #root')

const { language } = navigator
document.documentElement.lang = /^ko\b/i.test(language) ? 'ko' : 'en'
document.title = `${pageTextsFor(language).title} – tusserver`
createRoot(root).render(
  <StrictMode>
    <UploadPage facts={factsOf(root)} language={language} />
  </StrictMode>,
)
