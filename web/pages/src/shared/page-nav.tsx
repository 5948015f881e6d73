/** The way from one page to the other. */

import './page-nav.css'

interface PageNavProps {
  readonly current: 'upload' | 'dashboard'
  readonly language: string
}

const PAGES = [
  { name: 'upload', href: './' },
  { name: 'dashboard', href: './dashboard' },
] as const

const ENGLISH = { pages: 'Pages', upload: 'Upload', dashboard: 'Dashboard' }
const KOREAN = { pages: '페이지', upload: '업로드', dashboard: '대시보드' }

export function PageNav({ current, language }: PageNavProps) {
  const texts = /^ko\b/i.test(language) ? KOREAN : ENGLISH
  return (
    <nav className="page-nav" aria-label={texts.pages}>
      {PAGES.map(({ name, href }) => (
        <a key={name} href={href} aria-current={name === current ? 'page' : undefined}>
          {texts[name]}
        </a>
      ))}
    </nav>
  )
}
