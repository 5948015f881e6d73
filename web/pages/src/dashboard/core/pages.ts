/**
 * The part of a sorted list that has been loaded from the server, page by page, while uploads come
 * and go. Up to its end everything is known; behind it only what the stream has told.
 */

import { compare, matches, type Query } from './query.ts'
import type { Upload } from './upload.ts'

export const PAGE = 100

/** The list as it is to be shown. */
export interface View {
  readonly rows: readonly Upload[]
  /** How many there are, with those that are not shown. */
  readonly total: number
}

export class Pages {
  readonly query: Query
  /** Rows that somebody wants to see. */
  limit: number
  private end: Upload | null = null
  private behind = 0

  constructor(query: Query, limit = PAGE) {
    this.query = query
    this.limit = limit
  }

  /** A page has come: `uploads` behind the first `skip` of `total`. */
  take(uploads: readonly Upload[], skip: number, total: number): void {
    this.end = uploads.at(-1) ?? this.end
    this.behind = Math.max(0, total - skip - uploads.length)
  }

  view(known: readonly Upload[]): View {
    const found = this.find(known)
    const rows = found.slice(0, this.limit)
    const loaded = this.loadedOf(found)
    return { rows, total: loaded + Math.max(this.behind, found.length - loaded) }
  }

  /** How many the server is to skip for the next page; null if that is not needed for `limit`. */
  next(known: readonly Upload[]): number | null {
    const loaded = this.loadedOf(this.find(known))
    return this.behind > 0 && loaded < this.limit ? loaded : null
  }

  private find(known: readonly Upload[]): Upload[] {
    const { query } = this
    return known
      .filter((upload) => matches(upload, query))
      .sort((one, other) => compare(one, other, query.order))
  }

  private loadedOf(found: readonly Upload[]): number {
    const { end, query } = this
    if (end === null) return 0
    const next = found.findIndex((upload) => compare(upload, end, query.order) > 0)
    return next < 0 ? found.length : next
  }
}
