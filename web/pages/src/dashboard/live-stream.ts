/** The stream of events, asked for again as often as it breaks off. */

import { Refused } from './api.ts'
import { EventParser, type StreamEvent } from './core/event-stream.ts'
import { delayAfter, isTooShort } from './core/reconnect.ts'

/** `retryAt` in milliseconds since 1970; null: the next attempt is under way. */
export type Connection =
  | { readonly kind: 'connecting' | 'live' }
  | { readonly kind: 'broken'; readonly retryAt: number | null; readonly message: string }

export interface StreamHandlers {
  /** A stream is asked for, which tells everything anew. */
  onBegin(): void
  onEvents(events: readonly StreamEvent[]): void
  onConnection(connection: Connection): void
  /** No attempt follows. */
  onUnauthorized(): void
}

// The server says something every 15 seconds.
const SILENCE = 45_000
const UNAUTHORIZED = 401

export class LiveStream {
  private readonly open: (signal: AbortSignal) => Promise<Response>
  private readonly handlers: StreamHandlers
  private attempt: AbortController | null = null
  private isStopped = false
  private wake: () => void = () => undefined

  constructor(open: (signal: AbortSignal) => Promise<Response>, handlers: StreamHandlers) {
    this.open = open
    this.handlers = handlers
  }

  start(): void {
    window.addEventListener('online', this.retryNow)
    this.handlers.onConnection({ kind: 'connecting' })
    void this.run()
  }

  stop(): void {
    this.isStopped = true
    window.removeEventListener('online', this.retryNow)
    this.attempt?.abort()
    this.wake()
  }

  /** Ends the wait for the next attempt. */
  readonly retryNow = (): void => this.wake()

  private async run(): Promise<void> {
    let failures = 0
    while (!this.isStopped) {
      const began = Date.now()
      const { failure, wasLive } = await this.follow()
      if (this.isStopped) return
      if (failure instanceof Refused && failure.status === UNAUTHORIZED) {
        this.handlers.onUnauthorized()
        return
      }
      if (failure === null && !isTooShort(Date.now() - began)) {
        failures = 0
        continue
      }
      failures = wasLive ? 1 : failures + 1
      await this.wait(delayAfter(failures, Math.random()), failure)
    }
  }

  private async wait(delay: number, failure: unknown): Promise<void> {
    const message = failure instanceof Refused ? failure.message : ''
    this.handlers.onConnection({ kind: 'broken', retryAt: Date.now() + delay, message })
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, delay)
      this.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    if (!this.isStopped) this.handlers.onConnection({ kind: 'broken', retryAt: null, message })
  }

  /** One stream, to its end: null, or why it broke off. */
  private async follow(): Promise<{ failure: unknown; wasLive: boolean }> {
    const attempt = new AbortController()
    this.attempt = attempt
    const abort = () => attempt.abort()
    let watchdog = setTimeout(abort, SILENCE)
    let wasLive = false
    this.handlers.onBegin()
    try {
      const response = await this.open(attempt.signal)
      for await (const events of eventsOf(response)) {
        clearTimeout(watchdog)
        watchdog = setTimeout(abort, SILENCE)
        if (!wasLive) this.handlers.onConnection({ kind: 'live' })
        wasLive = true
        if (events.length > 0) this.handlers.onEvents(events)
      }
      return { failure: null, wasLive }
    } catch (failure) {
      return { failure, wasLive }
    } finally {
      clearTimeout(watchdog)
      // What the handlers raised must not leave a stream open that nobody reads.
      attempt.abort()
    }
  }
}

async function* eventsOf(response: Response): AsyncGenerator<StreamEvent[]> {
  const reader = response.body?.getReader()
  if (reader === undefined) return
  const parser = new EventParser()
  const decoder = new TextDecoder()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    yield parser.feed(decoder.decode(value, { stream: true }))
  }
}
