/**
 * A status API of a few lines in this process, so that tests can make it break off, refuse and
 * change. Whether the dashboard works with the real one is for the tests in a browser.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Storage } from '../../src/dashboard/api.ts'
import { compare, matches, type Order, type StateFilter } from '../../src/dashboard/core/query.ts'
import { isActive, type UploadJson, uploadOf } from '../../src/dashboard/core/upload.ts'

export interface Reply {
  readonly status: number
  readonly body: string
}

/** May answer a request in the server's place. */
export type Rule = (method: string, url: string) => Reply | undefined

const CORS = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Headers': '*, Authorization',
  'Access-Control-Allow-Methods': '*',
}

export class StatusServer {
  readonly uploads = new Map<string, UploadJson>()
  /** Method and path of each request but OPTIONS. */
  readonly log: string[] = []
  rule: Rule = () => undefined
  /** Empty: nobody is asked for one. */
  token = ''
  user: string | null = null
  quota: number | null = null
  hasDisk = true
  /** A refusal of this path waits for `answerLate`. */
  late = ''
  private held: (() => void)[] = []
  private readonly streams = new Set<ServerResponse>()
  private readonly server = createServer((request, response) => this.handle(request, response))

  async start(): Promise<this> {
    await new Promise<void>((resolve) => {
      this.server.listen(0, '127.0.0.1', resolve)
    })
    return this
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => {
      this.server.close(resolve)
    })
  }

  get root(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`
  }

  get watchers(): number {
    return this.streams.size
  }

  put(...uploads: UploadJson[]): void {
    for (const upload of uploads) {
      this.uploads.set(upload.id, upload)
      this.tell('upload', upload)
    }
  }

  remove(id: string): void {
    this.uploads.delete(id)
    this.tell('removed', { id })
  }

  tell(type: string, data: object): void {
    for (const stream of this.streams) stream.write(eventOf(type, data))
  }

  /** Ends all streams, as a proxy does that has had enough. */
  cut(): void {
    for (const stream of this.streams) stream.destroy()
  }

  get heldBack(): number {
    return this.held.length
  }

  answerLate(): void {
    for (const answer of this.held.splice(0)) answer()
  }

  private handle(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '' } = request
    if (method === 'OPTIONS') {
      response.writeHead(204, CORS).end()
      return
    }
    this.log.push(`${method} ${url}`)
    const isKnown = this.token === '' || request.headers.authorization === `Bearer ${this.token}`
    const reply = isKnown ? this.rule(method, url) : refusal(401, 'no token')
    const send = (late: Reply) => response.writeHead(late.status, CORS).end(late.body)
    if (reply !== undefined && url === this.late) this.held.push(() => send(reply))
    else if (reply !== undefined) send(reply)
    else if (url === '/api/events') this.stream(response)
    else if (method === 'DELETE') this.terminate(url.replace('/files/', ''), request, response)
    else response.writeHead(200, CORS).end(JSON.stringify(this.answer(new URL(url, this.root))))
  }

  private stream(response: ServerResponse): void {
    response.writeHead(200, { ...CORS, 'Content-Type': 'text/event-stream' })
    response.write('retry: 2000\n\n')
    for (const upload of this.uploads.values()) {
      if (isActive(upload)) response.write(eventOf('upload', upload))
    }
    const { free, total } = this.storage()
    if (this.hasDisk) response.write(eventOf('storage', { free, total }))
    response.write(eventOf('ready', {}))
    this.streams.add(response)
    response.on('close', () => this.streams.delete(response))
  }

  private terminate(id: string, request: IncomingMessage, response: ServerResponse): void {
    const isTus = request.headers['tus-resumable'] === '1.0.0'
    const isThere = this.uploads.has(id)
    if (isTus && isThere) this.remove(id)
    response.writeHead(isTus ? (isThere ? 204 : 404) : 412, CORS).end()
  }

  private answer({ pathname, searchParams }: URL): object {
    if (pathname === '/api/me') return { user: this.user, is_admin: true }
    return pathname === '/api/storage' ? this.storage() : this.page(searchParams)
  }

  private storage(): Storage {
    const all = [...this.uploads.values()]
    const size = all.reduce((sum, { length, offset }) => sum + (length ?? offset), 0)
    return {
      free: this.hasDisk ? 25 * 2 ** 30 : null,
      total: this.hasDisk ? 100 * 2 ** 30 : null,
      used_by: { size, uploads: all.length, active: all.filter(isActive).length },
      quota: { size: this.quota, uploads: null, active: null },
    }
  }

  private page(parameters: URLSearchParams): object {
    const query = {
      state: (parameters.get('state') ?? 'all') as StateFilter,
      owner: parameters.get('owner') ?? '',
      name: parameters.get('name') ?? '',
      order: (parameters.get('order') ?? '-created') as Order,
    }
    const [limit, skip] = [Number(parameters.get('limit')), Number(parameters.get('skip'))]
    const found = [...this.uploads.values()]
      .map(uploadOf)
      .filter((upload) => matches(upload, query))
      .sort((one, other) => compare(one, other, query.order))
    return { uploads: found.slice(skip, skip + limit), total: found.length, skip, limit }
  }
}

/** As the API refuses; upload URLs do it in plain text. */
export function refusal(status: number, message: string): Reply {
  return { status, body: JSON.stringify({ code: 'ERR_SOME', message }) }
}

function eventOf(type: string, data: object): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`
}
