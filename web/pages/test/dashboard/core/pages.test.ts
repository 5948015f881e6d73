import { expect, test } from 'vitest'
import { Pages } from '../../../src/dashboard/core/pages.ts'
import { EVERYTHING } from '../../../src/dashboard/core/query.ts'
import type { Upload } from '../../../src/dashboard/core/upload.ts'
import { upload } from '../uploads.ts'

const ended = (seconds: number) => upload(`e${seconds}`, { state: 'finished' }, seconds)
const list = (from: number, to: number) =>
  Array.from({ length: from - to }, (_, index) => ended(from - index))
const shown = (pages: Pages, known: readonly Upload[]) => {
  const { rows, total } = pages.view(known)
  return [rows.map(({ id }) => id).join(' '), total]
}

test('before anything has come, what the stream told is shown', () => {
  expect(shown(new Pages(EVERYTHING), [ended(1), ended(2)])).toEqual(['e2 e1', 2])
})

test('rows behind what has been loaded are counted, and asked for when they are wanted', () => {
  const pages = new Pages(EVERYTHING, 3)
  const known = list(10, 7)
  pages.take(known, 0, 10)
  expect(shown(pages, known)).toEqual(['e10 e9 e8', 10])
  expect(pages.next(known)).toBeNull()
  pages.limit = 6
  expect(pages.next(known)).toBe(3)
  const all = list(10, 4)
  pages.take(list(7, 4), 3, 10)
  expect(shown(pages, all)).toEqual(['e10 e9 e8 e7 e6 e5', 10])
})

test('new rows before the end move it, and removed ones move it back', () => {
  const pages = new Pages(EVERYTHING, 3)
  pages.take(list(10, 7), 0, 10)
  const known = [ended(11), ended(12), ...list(10, 7)]
  expect(shown(pages, known)).toEqual(['e12 e11 e10', 12])
  pages.limit = 6
  expect(pages.next(known)).toBe(5)
  expect(pages.next(known.slice(1))).toBe(4)
})

test('what is known from behind the end is not counted twice', () => {
  const pages = new Pages(EVERYTHING, 3)
  pages.take(list(10, 7), 0, 5)
  expect(pages.view([...list(10, 7), ended(2), ended(1)]).total).toBe(5)
  expect(pages.view([...list(10, 7), ended(3), ended(2), ended(1)]).total).toBe(6)
})

test('where all has been loaded there is no next page', () => {
  const pages = new Pages(EVERYTHING, 3)
  pages.take(list(2, 0), 0, 2)
  pages.limit = 100
  expect(pages.next(list(2, 0))).toBeNull()
})

test('an empty page ends the list', () => {
  const pages = new Pages(EVERYTHING, 3)
  pages.take(list(10, 7), 0, 10)
  pages.take([], 3, 3)
  expect(shown(pages, list(10, 7))).toEqual(['e10 e9 e8', 3])
})

test('only what the filter lets through is in it', () => {
  const pages = new Pages({ ...EVERYTHING, state: 'active', order: 'name' })
  expect(shown(pages, [ended(3), upload('b'), upload('a')])).toEqual(['a b', 2])
})
