/** Which files are taken, before a byte of them is sent; the server decides again. */

/** Why a file is not taken. */
export type Objection = 'type' | 'size' | 'folder'

/**
 * `accept` is written as for `<input accept>`: extensions and media types between commas, as
 * `.h5,.nc,image/*`. An empty one takes all. `maxSize` is in bytes.
 */
export function objectionTo(
  file: { readonly name: string; readonly type: string; readonly size: number },
  accept: string,
  maxSize: number | null,
): Objection | null {
  if (!isAccepted(file, accept)) return 'type'
  return maxSize !== null && file.size > maxSize ? 'size' : null
}

function isAccepted(file: { readonly name: string; readonly type: string }, accept: string) {
  const patterns = accept
    .split(',')
    .map((pattern) => pattern.trim().toLowerCase())
    .filter((pattern) => pattern !== '')
  if (patterns.length === 0) return true
  const name = file.name.toLowerCase()
  const type = file.type.toLowerCase().split(';')[0]?.trim() ?? ''
  return patterns.some((pattern) => fits(pattern, name, type))
}

function fits(pattern: string, name: string, type: string): boolean {
  if (pattern.startsWith('.')) return name.endsWith(pattern)
  if (pattern === '*' || pattern === '*/*') return true
  if (pattern.endsWith('/*')) return type.startsWith(pattern.slice(0, -1))
  return type === pattern
}
