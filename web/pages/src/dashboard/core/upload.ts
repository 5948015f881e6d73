/** An upload as the status API tells it (docs/status-api.md). Sizes in bytes. */

export type State = 'uploading' | 'finishing' | 'finished' | 'refused' | 'expired'

/** As it comes over the wire; times in ISO 8601. */
export interface UploadJson {
  readonly id: string
  readonly url: string
  readonly filename: string | null
  readonly length: number | null
  readonly offset: number
  readonly percent: number | null
  readonly state: State
  readonly owner: string | null
  readonly created: string
  readonly modified: string
  readonly expires: string | null
  readonly destination: string | null
  readonly place: string | null
  readonly digests: Readonly<Record<string, string>>
  readonly scan: string | null
  readonly refusal: { readonly code: string; readonly message: string } | null
  readonly finish: Work | null
  readonly rate: number | null
  readonly concat: 'partial' | 'final' | null
  readonly metadata: Readonly<Record<string, string>>
}

/** What the server is doing with a complete upload; `done` and `total` null if it cannot tell. */
export interface Work {
  readonly step: string
  readonly done: number | null
  readonly total: number | null
}

/** The same with times to count with, in milliseconds since 1970. */
export interface Upload extends UploadJson {
  readonly createdAt: number
  readonly modifiedAt: number
}

export function uploadOf(json: UploadJson): Upload {
  return { ...json, createdAt: Date.parse(json.created), modifiedAt: Date.parse(json.modified) }
}

/** More is going to happen to it. */
export function isActive({ state }: Pick<Upload, 'state'>): boolean {
  return state === 'uploading' || state === 'finishing'
}

/** It could go on, but its client sends nothing. */
export function isIdle({ state, rate }: Pick<Upload, 'state' | 'rate'>): boolean {
  return state === 'uploading' && rate === 0
}

/** Seconds until its last byte at the present rate; null if that cannot be said. */
export function secondsLeft({ state, length, offset, rate }: Upload): number | null {
  if (state !== 'uploading' || length === null || rate === null || rate <= 0) return null
  return (length - offset) / rate
}

/** Per cent of what is under way now: of the bytes, or of the step; null if that is unknown. */
export function progressOf({ state, percent, finish }: Upload): number | null {
  if (state !== 'finishing') return percent
  if (finish === null || finish.done === null || !finish.total) return null
  return (finish.done / finish.total) * 100
}
