/** What went wrong, what to do about it, and in which words. */

/** `offline`: the browser has no network. `network`: no answer came. The rest were answers. */
export type FailureKind =
  | 'offline'
  | 'network'
  | 'server'
  | 'unauthorized'
  | 'full'
  | 'refused'
  | 'type'
  | 'size'
  | 'folder'

/** One failure of an upload. */
export interface UploadFailure {
  readonly kind: FailureKind
  /** Of the answer; null if there was none. */
  readonly status: number | null
  /** The server's stable code, as ERR_INFECTED; null if it gave none. */
  readonly code: string | null
  /** The server's sentence for a person; null if it gave none. */
  readonly message: string | null
  /** It may pass by itself, so that it is tried again without asking. */
  readonly isPassing: boolean
  /** A retry by the user can help. */
  readonly canRetry: boolean
  /** Seconds after which the server wants to be asked again. */
  readonly retryAfter: number | null
}

/** What is known of an answer. */
export interface Answer {
  readonly status: number
  readonly body: string
  readonly retryAfter: string | null
}

// 409 and 423: somebody else is at it for a moment. 460: bytes were damaged on the way.
const PASSING = new Set([408, 409, 423, 425, 429, 460])
// Of this file, and so for good.
const HOPELESS = new Set([415, 422])
const HOPELESS_CODES = new Set(['ERR_MAX_SIZE_EXCEEDED', 'ERR_INVALID_NAME'])

/** What an answer that is no success means. */
export function failureOf(answer: Answer): UploadFailure {
  const { status } = answer
  const { code, message } = sentenceOf(answer.body)
  const isPassing = PASSING.has(status) || (status >= 500 && status !== 501 && status !== 507)
  const isHopeless = HOPELESS.has(status) || (code !== null && HOPELESS_CODES.has(code))
  const retryAfter = secondsOf(answer.retryAfter)
  return {
    kind: kindOf(status),
    status,
    code,
    message,
    isPassing,
    canRetry: !isHopeless,
    retryAfter,
  }
}

/** There was no answer. */
export function failureWithoutAnswer(isOnline: boolean): UploadFailure {
  return { ...LOCAL, kind: isOnline ? 'network' : 'offline', isPassing: true, canRetry: true }
}

/** The file was not taken before anything was sent. */
export function failureBefore(kind: 'type' | 'size' | 'folder'): UploadFailure {
  return { ...LOCAL, kind, isPassing: false, canRetry: false }
}

const LOCAL = { status: null, code: null, message: null, retryAfter: null }

function kindOf(status: number): FailureKind {
  if (status === 401) return 'unauthorized'
  if (status === 507) return 'full'
  return status >= 500 ? 'server' : 'refused'
}

/**
 * tusserver and tusd answer `CODE: a sentence`, or JSON with `code` and `message`. The pages of
 * proxies are nothing to show.
 */
function sentenceOf(body: string): { code: string | null; message: string | null } {
  const text = body.trim()
  const coded = /^(ERR_[A-Z0-9_]+): ([^\n]+)/.exec(text)
  if (coded) return { code: coded[1] ?? null, message: coded[2] ?? null }
  if (text.startsWith('{')) return jsonSentence(text)
  const isSentence = text !== '' && text.length <= 300 && !text.includes('<')
  return { code: null, message: isSentence ? text : null }
}

function jsonSentence(text: string): { code: string | null; message: string | null } {
  try {
    const { code, message } = JSON.parse(text) as Record<string, unknown>
    return { code: stringOrNull(code), message: stringOrNull(message) }
  } catch {
    return { code: null, message: null }
  }
}

function stringOrNull(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}

function secondsOf(value: string | null): number | null {
  return value !== null && /^\d+$/.test(value.trim()) ? Number(value) : null
}
