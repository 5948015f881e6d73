/** The requests of the dashboard: to the status API, and to upload URLs to terminate them. */

import { parametersOf, type Query } from './core/query.ts'
import { type Upload, type UploadJson, uploadOf } from './core/upload.ts'

export interface Me {
  readonly user: string | null
  readonly is_admin: boolean
}

/** Bytes of the file system. */
export interface Disk {
  readonly free: number
  readonly total: number
}

/** What somebody has, or may have; null: no limit. `size` in bytes. */
export interface Share<Amount = number> {
  readonly size: Amount
  readonly uploads: Amount
  readonly active: Amount
}

/** Without a file system there are no bytes of it. */
export interface Storage {
  readonly free: number | null
  readonly total: number | null
  readonly used_by: Share
  readonly quota: Share<number | null>
}

export interface Page {
  readonly uploads: readonly Upload[]
  readonly total: number
  readonly skip: number
}

/** The server did not do it; `message` is its own sentence, empty if it gave none. */
export class Refused extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export interface ApiOptions {
  /** URLs that end with a slash. */
  readonly api: string
  readonly uploads: string
  /** Empty: a cookie may do. */
  readonly token: string
}

const GONE = new Set([404, 410])

export class Api {
  private readonly options: ApiOptions

  constructor(options: ApiOptions) {
    this.options = options
  }

  /** All of these raise Refused, and TypeError when the server cannot be reached. */
  me(): Promise<Me> {
    return this.json('me')
  }

  storage(): Promise<Storage> {
    return this.json('storage')
  }

  async page(query: Query, limit: number, skip: number): Promise<Page> {
    const path = `uploads?${parametersOf(query, limit, skip)}`
    const { uploads, total } = await this.json<{ uploads: UploadJson[]; total: number }>(path)
    return { uploads: uploads.map(uploadOf), total, skip }
  }

  /** The stream of everything that the caller may see; ends with the signal. */
  events(signal: AbortSignal): Promise<Response> {
    return this.send(`${this.options.api}events`, { signal })
  }

  /** An upload that does not exist any more is as good as terminated. */
  async terminate(id: string): Promise<void> {
    const init = { method: 'DELETE', headers: { 'Tus-Resumable': '1.0.0' } }
    try {
      await this.send(this.urlOf(id), init)
    } catch (error) {
      if (!(error instanceof Refused && GONE.has(error.status))) throw error
    }
  }

  /** The upload URL; absolute, and as the browser sees the server. */
  urlOf(id: string): string {
    return new URL(`${this.options.uploads}${id}`, document.baseURI).href
  }

  private async json<Answer>(path: string): Promise<Answer> {
    const response = await this.send(`${this.options.api}${path}`, {})
    return response.json()
  }

  private async send(url: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers)
    if (this.options.token !== '') headers.set('Authorization', `Bearer ${this.options.token}`)
    const response = await fetch(url, { ...init, headers, cache: 'no-store' })
    if (response.ok) return response
    throw new Refused(response.status, messageIn(await response.text().catch(() => '')))
  }
}

/** Status API: `{"code", "message"}`; upload URLs: `CODE: message`. */
function messageIn(body: string): string {
  try {
    return String(JSON.parse(body).message ?? '')
  } catch {
    return /^[A-Z_]+: (.*)$/m.exec(body)?.[1]?.trim() ?? ''
  }
}
