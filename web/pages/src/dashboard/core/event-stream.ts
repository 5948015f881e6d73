/**
 * Server-Sent Events (WHATWG HTML, section 9.2) out of the text of a response. `EventSource` would
 * do it, but cannot send a token.
 */

/** One event; `data` as the server wrote it. */
export interface StreamEvent {
  readonly type: string
  readonly data: string
}

/** Takes the text in whatever pieces it comes. */
export class EventParser {
  private rest = ''
  private type = ''
  private data: string[] = []
  private endedWithReturn = false

  /** The events that this piece completes. */
  feed(text: string): StreamEvent[] {
    // The second half of a line end whose first half was in the last piece.
    const piece = this.endedWithReturn && text.startsWith('\n') ? text.slice(1) : text
    if (text !== '') this.endedWithReturn = piece.endsWith('\r')
    const lines = (this.rest + piece).split(/\r\n|\n|\r/)
    this.rest = lines.pop() ?? ''
    return lines.flatMap((line) => this.take(line) ?? [])
  }

  private take(line: string): StreamEvent | null {
    if (line === '') return this.dispatch()
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    // Comments have an empty field; ids and the wish for a delay are of no use here.
    if (field === 'event') this.type = value
    else if (field === 'data') this.data.push(value)
    return null
  }

  private dispatch(): StreamEvent | null {
    const { type, data } = this
    this.type = ''
    this.data = []
    return data.length === 0 ? null : { type: type || 'message', data: data.join('\n') }
  }
}
