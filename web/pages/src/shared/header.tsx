/** The top of every page. */

import type { ReactNode } from 'react'
import icon from './icon.svg'

export function Header({ children }: { readonly children?: ReactNode }) {
  return (
    <header className="page-head">
      <img src={icon} alt="" />
      <span>tusserver</span>
      {children}
    </header>
  )
}
