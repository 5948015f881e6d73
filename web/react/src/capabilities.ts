/** What a tus server says of itself. */

/** `maxSize` in bytes, null for no limit that it tells. */
export interface ServerCapabilities {
  readonly extensions: readonly string[]
  readonly maxSize: number | null
}

const NOTHING: ServerCapabilities = { extensions: [], maxSize: null }
const known = new Map<string, Promise<ServerCapabilities>>()

/** Asked once per endpoint and page. A server that does not answer has no extensions. */
export function capabilitiesOf(endpoint: string): Promise<ServerCapabilities> {
  const found = known.get(endpoint)
  if (found !== undefined) return found
  const asked = ask(endpoint).catch(() => {
    known.delete(endpoint)
    return NOTHING
  })
  known.set(endpoint, asked)
  return asked
}

async function ask(endpoint: string): Promise<ServerCapabilities> {
  const signal = AbortSignal.timeout(10_000)
  const answer = await fetch(endpoint, { method: 'OPTIONS', signal })
  if (!answer.ok) throw new Error(`OPTIONS was answered ${answer.status}`)
  const maxSize = answer.headers.get('Tus-Max-Size')
  return {
    extensions: (answer.headers.get('Tus-Extension') ?? '').split(',').map((name) => name.trim()),
    maxSize: maxSize !== null && /^\d+$/.test(maxSize) ? Number(maxSize) : null,
  }
}
