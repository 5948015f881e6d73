/** Where a person gives the token that their portal gave them. */

import { type FormEvent, useId, useState } from 'react'
import { type Session, useSession } from './session.ts'

/** What it says. */
export interface SignInTexts {
  readonly title: string
  readonly explanation: string
  readonly refused: string
  readonly token: string
  readonly signIn: string
  readonly signOut: string
}

interface SignInProps {
  readonly session: Session
  readonly texts: SignInTexts
}

export function SignIn({ session, texts }: SignInProps) {
  const id = useId()
  const [token, setToken] = useState('')
  const { asks, isRefused } = useSession(session)
  if (!asks) return null
  const signIn = (event: FormEvent) => {
    event.preventDefault()
    if (token.trim() === '') return
    session.signIn(token.trim())
    setToken('')
  }
  return (
    <form className="card sign-in" onSubmit={signIn} aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>{texts.title}</h2>
      <p id={`${id}-text`} role="status" className={isRefused ? 'is-bad' : undefined}>
        {isRefused ? texts.refused : texts.explanation}
      </p>
      <label htmlFor={id}>{texts.token}</label>
      <div className="field-row">
        <input
          id={id}
          type="password"
          autoComplete="off"
          aria-describedby={`${id}-text`}
          value={token}
          onChange={(event) => setToken(event.target.value)}
        />
        <button type="submit" className="primary">
          {texts.signIn}
        </button>
      </div>
    </form>
  )
}

export function SignOut({ session, texts }: SignInProps) {
  const { token, asks } = useSession(session)
  if (token === '' || asks) return null
  return (
    <button type="button" className="quiet" onClick={() => session.signOut()}>
      {texts.signOut}
    </button>
  )
}
