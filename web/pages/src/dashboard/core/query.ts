/** Which uploads are asked for, and in which order: the same here as at the server. */

import { isActive, type Upload } from './upload.ts'

export type StateFilter = 'all' | 'active' | 'ended'
export type Column = 'created' | 'name' | 'size'
export type Order = Column | `-${Column}`

export interface Query {
  readonly state: StateFilter
  /** Exactly this one; empty: anybody's. */
  readonly owner: string
  /** A piece of the file name, in any case. */
  readonly name: string
  /** With `-` the largest first. */
  readonly order: Order
}

export const EVERYTHING: Query = { state: 'all', owner: '', name: '', order: '-created' }

export function matches(upload: Upload, { state, owner, name }: Query): boolean {
  if (state !== 'all' && isActive(upload) !== (state === 'active')) return false
  if (owner !== '' && upload.owner !== owner) return false
  return (upload.filename ?? '').toLowerCase().includes(name.toLowerCase())
}

/** Negative if `one` comes before `other`. */
export function compare(one: Upload, other: Upload, order: Order): number {
  const difference = DIFFERENCES[columnOf(order)](one, other)
  if (difference !== 0) return isDescending(order) ? -difference : difference
  return ordinal(one.id, other.id)
}

export function columnOf(order: Order): Column {
  return order.replace('-', '') as Column
}

export function isDescending(order: Order): boolean {
  return order.startsWith('-')
}

/** As the query string of the API. */
export function parametersOf(query: Query, limit: number, skip: number): URLSearchParams {
  const parameters = new URLSearchParams({ order: query.order, limit: `${limit}`, skip: `${skip}` })
  if (query.state !== 'all') parameters.set('state', query.state)
  if (query.owner !== '') parameters.set('owner', query.owner)
  if (query.name !== '') parameters.set('name', query.name)
  return parameters
}

const DIFFERENCES: Readonly<Record<Column, (one: Upload, other: Upload) => number>> = {
  // Within one millisecond the text decides, which is more exact.
  created: (one, other) => one.createdAt - other.createdAt || ordinal(one.created, other.created),
  name: (one, other) => ordinal(one.filename ?? '', other.filename ?? ''),
  size: (one, other) => (one.length ?? one.offset) - (other.length ?? other.offset),
}

function ordinal(one: string, other: string): number {
  if (one === other) return 0
  return one < other ? -1 : 1
}
