/**
 * The requests of an upload: with a fresh token each, given up when nothing moves any more, and
 * with answers that tus-js-client would misread kept from it.
 */

import {
  DefaultHttpStack,
  DetailedError,
  type HttpRequest,
  type HttpResponse,
  type HttpStack,
} from 'tus-js-client'
import {
  type Answer,
  failureOf,
  failureWithoutAnswer,
  type UploadFailure,
} from './core/failures.ts'

/**
 * Gives the token for the next request, an empty string for none. `refused` is the token that the
 * server has just refused, null if that has not happened; then a new one is needed, which may take
 * as long as a person needs to sign in.
 */
export type TokenProvider = (refused: string | null) => string | Promise<string>

/** What a transport needs to know, and whom it tells. */
export interface TransportOptions {
  readonly token?: TokenProvider | undefined
  /** Send cookies to another origin as well. */
  readonly withCredentials?: boolean | undefined
  /** So many bytes of a body have left. */
  readonly onBytes?: (count: number) => void
  /** An answer came, whatever it says. */
  readonly onAnswer?: (request: HttpRequest, response: HttpResponse) => void
}

// A body of which nothing leaves, and a HEAD without answer: the connection is dead. Waiting for
// the answer to a whole body is no such case, for the server may be checking a large file.
const STALL_TIMEOUT = 30_000

// A new upload is begun on these; see `judged`.
const MISSING = new Set([403, 404, 410])

/** There is no token to be had. */
export class TokenUnavailable extends Error {}

class RefusedAnswer extends Error {
  readonly answer: Answer

  constructor(answer: Answer) {
    super(`unexpected status ${answer.status}`)
    this.answer = answer
  }
}

/** To be given to tus-js-client as `httpStack`. */
export class Transport implements HttpStack {
  private readonly stack = new DefaultHttpStack({})
  private readonly options: TransportOptions

  constructor(options: TransportOptions) {
    this.options = options
  }

  getName(): string {
    return 'tusserver-react'
  }

  createRequest(method: string, url: string): HttpRequest {
    return new Request(this.stack, this.options, method, url)
  }
}

class Request implements HttpRequest {
  private readonly headers = new Map<string, string>()
  private onProgress: (sent: number) => void = () => undefined
  private inner: HttpRequest | null = null
  private isAborted = false
  private readonly stack: HttpStack
  private readonly options: TransportOptions
  private readonly method: string
  private readonly url: string

  constructor(stack: HttpStack, options: TransportOptions, method: string, url: string) {
    this.stack = stack
    this.options = options
    this.method = method
    this.url = url
  }

  getMethod(): string {
    return this.method
  }

  getURL(): string {
    return this.url
  }

  setHeader(name: string, value: string): void {
    this.headers.set(name, value)
  }

  getHeader(name: string): string | undefined {
    return this.headers.get(name)
  }

  setProgressHandler(handler: (sent: number) => void): void {
    this.onProgress = handler
  }

  getUnderlyingObject(): unknown {
    return this.inner?.getUnderlyingObject()
  }

  abort(): Promise<void> {
    this.isAborted = true
    return this.inner?.abort() ?? Promise.resolve()
  }

  async send(body: unknown): Promise<HttpResponse> {
    const token = await this.askForToken(null)
    let response = await this.attempt(body, token)
    // The server refuses before it reads the body, so the same request can be made again.
    if (response.getStatus() === 401 && this.options.token !== undefined) {
      response = await this.attempt(body, await this.askForToken(token))
    }
    this.options.onAnswer?.(this, response)
    return this.judged(response)
  }

  private async attempt(body: unknown, token: string): Promise<HttpResponse> {
    // As after the abort of an XMLHttpRequest: nothing comes any more.
    if (this.isAborted) return new Promise(() => undefined)
    const inner = this.stack.createRequest(this.method, this.url)
    this.inner = inner
    for (const [name, value] of this.headers) inner.setHeader(name, value)
    if (token !== '') inner.setHeader('Authorization', `Bearer ${token}`)
    if (this.options.withCredentials) {
      ;(inner.getUnderlyingObject() as XMLHttpRequest).withCredentials = true
    }
    return this.watched(inner, body)
  }

  private async askForToken(refused: string | null): Promise<string> {
    if (this.options.token === undefined) return ''
    try {
      return await this.options.token(refused)
    } catch (error) {
      throw new TokenUnavailable('no token could be had', { cause: error })
    }
  }

  private watched(inner: HttpRequest, body: unknown): Promise<HttpResponse> {
    const size = body instanceof Blob ? body.size : 0
    const watch = new Watch(size > 0 || this.method === 'HEAD')
    let before = 0
    inner.setProgressHandler((sent) => {
      this.options.onBytes?.(Math.max(0, sent - before))
      before = sent
      watch.moved(sent < size)
      this.onProgress(sent)
    })
    const stalled = watch.stalled.catch((error: unknown) => {
      void inner.abort()
      throw error
    })
    return Promise.race([inner.send(body ?? null), stalled]).finally(() => watch.moved(false))
  }

  /**
   * To tus-js-client every refusal of a HEAD but 423 means that the upload is gone, and it would
   * start over at byte 0 when a proxy answers 502 for a moment, or a token has expired.
   */
  private judged(response: HttpResponse): HttpResponse {
    const status = response.getStatus()
    const isPlain = this.method !== 'HEAD' || (status >= 200 && status < 300) || status === 423
    if (isPlain || MISSING.has(status)) return response
    throw new RefusedAnswer(answerOf(response))
  }
}

/** Rejects `stalled` when nothing has moved for too long. */
class Watch {
  readonly stalled: Promise<never>
  private fail: (error: Error) => void = () => undefined
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(isOn: boolean) {
    this.stalled = new Promise((_, reject) => {
      this.fail = reject
    })
    this.moved(isOn)
  }

  moved(mustGoOn: boolean): void {
    clearTimeout(this.timer)
    if (!mustGoOn) return
    this.timer = setTimeout(() => this.fail(new Error('nothing moved for too long')), STALL_TIMEOUT)
  }
}

/** What an error of tus-js-client, or of this transport below it, means. */
export function failureFrom(error: unknown, isOnline: boolean): UploadFailure {
  const cause = error instanceof DetailedError ? error.causingError : error
  if (cause instanceof TokenUnavailable) {
    return { ...failureOf({ status: 401, body: '', retryAfter: null }), status: null }
  }
  if (cause instanceof RefusedAnswer) return failureOf(cause.answer)
  const response = error instanceof DetailedError ? error.originalResponse : null
  return response === null ? failureWithoutAnswer(isOnline) : failureOf(answerOf(response))
}

function answerOf(response: HttpResponse): Answer {
  return {
    status: response.getStatus(),
    body: response.getBody() ?? '',
    retryAfter: response.getHeader('Retry-After') ?? null,
  }
}
