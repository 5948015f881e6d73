/**
 * Who the person is, for the server: a token that is kept for this tab only. Where a cookie says it
 * already, no token is asked for.
 */

import { useSyncExternalStore } from 'react'

const KEY = 'tusserver.token'

/** `asks`: a token is needed now. `isRefused`: the one that was given is not taken (any more). */
export interface SessionState {
  readonly token: string
  readonly asks: boolean
  readonly isRefused: boolean
}

export class Session {
  private current: SessionState
  private readonly listeners = new Set<() => void>()
  private waiting: ((token: string) => void)[] = []

  constructor() {
    this.current = { token: sessionStorage.getItem(KEY) ?? '', asks: false, isRefused: false }
  }

  get state(): SessionState {
    return this.current
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** The token provider of uploads: waits for the person where the server wants another token. */
  readonly provide = (refused: string | null): string | Promise<string> => {
    const { token } = this.current
    // Somebody may have signed in while the refused request was on its way.
    if (!this.current.asks && refused !== token) return token
    this.ask(refused !== null && refused !== '')
    return new Promise((resolve) => {
      this.waiting.push(resolve)
    })
  }

  /** The server wants another token than this one ('': than none). */
  refuse(token: string): void {
    // Somebody may have signed in while the refused request was on its way.
    if (token === this.current.token) this.ask(token !== '')
  }

  signIn(token: string): void {
    sessionStorage.setItem(KEY, token)
    this.set({ token, asks: false, isRefused: false })
    const waiting = this.waiting
    this.waiting = []
    for (const resolve of waiting) resolve(token)
  }

  signOut(): void {
    sessionStorage.removeItem(KEY)
    this.set({ token: '', asks: true, isRefused: false })
  }

  /** Asks the server; shows that a token is needed if it does not know who is there. */
  async check(api: string): Promise<void> {
    const { token } = this.current
    const headers = token === '' ? {} : { Authorization: `Bearer ${token}` }
    const answer = await fetch(`${api}me`, { headers }).catch(() => null)
    if (answer?.status === 401) this.refuse(token)
  }

  private ask(isRefused: boolean): void {
    this.set({ ...this.current, asks: true, isRefused: isRefused || this.current.isRefused })
  }

  private set(state: SessionState): void {
    this.current = state
    for (const listener of this.listeners) listener()
  }
}

export function useSession(session: Session): SessionState {
  return useSyncExternalStore(session.subscribe, () => session.state)
}
