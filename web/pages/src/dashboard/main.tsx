/** Starts the dashboard. */

import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import '../shared/page.css'
import './dashboard.css'
import { factsOf } from '../shared/facts.ts'
import { DashboardPage } from './dashboard-page.tsx'
import { dashboardTextsFor } from './texts.ts'

const root = document.getElementById('root')
if (root === null) throw new Error('the page has no #root')

const { language } = navigator
const texts = dashboardTextsFor(language)
document.documentElement.lang = texts.locale
document.title = `${texts.title} – tusserver`
createRoot(root).render(
  <StrictMode>
    <DashboardPage facts={factsOf(root)} language={language} />
  </StrictMode>,
)
