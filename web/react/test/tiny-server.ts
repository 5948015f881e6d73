/**
 * A tus server of a few lines in this process, so that tests can make it refuse, stall and forget.
 * Whether the parts work with the real one is for the tests in a browser.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface StoredUpload {
  readonly metadata: Record<string, string>
  readonly isPart: boolean
  readonly length: number
  body: Buffer
}

export interface Reply {
  readonly status: number
  readonly text?: string
  readonly headers?: Record<string, string>
}

/** May answer a request in the server's place, before its body is read. */
export type Rule = (request: IncomingMessage) => Reply | undefined | Promise<Reply | undefined>

export class TinyServer {
  readonly uploads = new Map<string, StoredUpload>()
  /** Method, status and bytes of the body of each request but OPTIONS. */
  readonly log: { method: string; status: number; size: number }[] = []
  rule: Rule = () => undefined
  extensions = 'creation,termination,concatenation'
  maxSize: number | null = null
  private count = 0
  private readonly server = createServer((request, response) => {
    this.handle(request, response).catch(() => response.destroy())
  })

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

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/files/`
  }

  methods(): string[] {
    return this.log.map((entry) => entry.method)
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const method = request.method ?? ''
    const ruled = method === 'OPTIONS' ? undefined : await this.rule(request)
    const body = await bodyOf(request)
    const reply = ruled ?? this.reply(request, method, body)
    if (method !== 'OPTIONS') this.log.push({ method, status: reply.status, size: body.length })
    response.writeHead(reply.status, { ...CORS, ...reply.headers }).end(reply.text ?? '')
  }

  private reply(request: IncomingMessage, method: string, body: Buffer): Reply {
    const id = (request.url ?? '').replace('/files/', '')
    if (method === 'OPTIONS') return { status: 204, headers: this.capabilities() }
    if (method === 'POST') return this.create(request)
    const upload = this.uploads.get(id)
    if (upload === undefined) return { status: 404, text: 'ERR_UPLOAD_NOT_FOUND: gone\n' }
    if (method === 'DELETE') {
      this.uploads.delete(id)
      return { status: 204 }
    }
    if (method === 'PATCH') {
      if (Number(request.headers['upload-offset']) !== upload.body.length) return { status: 409 }
      upload.body = Buffer.concat([upload.body, body])
    }
    const headers = {
      'Upload-Offset': `${upload.body.length}`,
      'Upload-Length': `${upload.length}`,
    }
    return { status: method === 'PATCH' ? 204 : 200, headers }
  }

  private capabilities(): Record<string, string> {
    const limit = this.maxSize === null ? {} : { 'Tus-Max-Size': `${this.maxSize}` }
    return { 'Tus-Extension': this.extensions, ...limit }
  }

  private create(request: IncomingMessage): Reply {
    const concat = `${request.headers['upload-concat'] ?? ''}`
    const ids = concat.startsWith('final;') ? concat.slice(6).split(' ') : []
    const parts = ids.map((url) => this.uploads.get(url.replace(/.*\/files\//, '')))
    const body = Buffer.concat(parts.map((part) => part?.body ?? Buffer.alloc(0)))
    const id = `${++this.count}`
    this.uploads.set(id, {
      metadata: metadataOf(`${request.headers['upload-metadata'] ?? ''}`),
      isPart: concat === 'partial',
      length: ids.length > 0 ? body.length : Number(request.headers['upload-length']),
      body,
    })
    return { status: 201, headers: { Location: `/files/${id}` } }
  }
}

const CORS = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Methods': 'POST, HEAD, PATCH, DELETE, OPTIONS',
  'Access-Control-Allow-Headers':
    'Authorization, Content-Type, Tus-Resumable, Upload-Concat, Upload-Length, Upload-Metadata, Upload-Offset',
  'Access-Control-Expose-Headers':
    'Location, Retry-After, Tus-Extension, Tus-Max-Size, Upload-Length, Upload-Offset',
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function metadataOf(header: string): Record<string, string> {
  const pairs = header.split(',').filter((pair) => pair !== '')
  return Object.fromEntries(
    pairs.map((pair) => {
      const [key = '', value = ''] = pair.split(' ')
      return [key, Buffer.from(value, 'base64').toString()]
    }),
  )
}
