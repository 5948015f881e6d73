import { expect, test } from 'vitest'
import {
  compare,
  EVERYTHING,
  matches,
  type Order,
  parametersOf,
} from '../../../src/dashboard/core/query.ts'
import { upload } from '../uploads.ts'

const kim = upload('a', { owner: 'kim', filename: 'Sample.H5' })

test.each([
  [{}, true],
  [{ state: 'active' }, true],
  [{ state: 'ended' }, false],
  [{ owner: 'kim' }, true],
  [{ owner: 'ki' }, false],
  [{ name: 'ple.h' }, true],
  [{ name: 'other' }, false],
] as const)('%o lets it through: %s', (changes, isLet) => {
  expect(matches(kim, { ...EVERYTHING, ...changes })).toBe(isLet)
})

test('what has no name is found by no name', () => {
  const nameless = upload('a', { filename: null })
  expect(matches(nameless, EVERYTHING)).toBe(true)
  expect(matches(nameless, { ...EVERYTHING, name: 'a' })).toBe(false)
})

test.each<[Order, string]>([
  ['created', 'bca'],
  ['-created', 'acb'],
  ['name', 'cab'],
  ['-name', 'bac'],
  ['size', 'acb'],
  ['-size', 'bca'],
])('%s puts them in the order %s', (order, expected) => {
  const uploads = [
    upload('a', { filename: 'Beta', length: 1 }, 20),
    upload('b', { filename: 'alpha', length: 30 }, 0),
    upload('c', { filename: null, length: null, offset: 20 }, 10),
  ]
  uploads.sort((one, other) => compare(one, other, order))
  expect(uploads.map(({ id }) => id).join('')).toBe(expected)
})

test('those that are alike come by their id in both directions, as at the server', () => {
  const [a, b] = [upload('a'), upload('b')]
  expect(compare(a, b, 'created')).toBeLessThan(0)
  expect(compare(a, b, '-created')).toBeLessThan(0)
  expect(compare(a, a, 'size')).toBe(0)
})

test('microseconds decide within a millisecond', () => {
  const early = upload('b', { created: '2026-11-26T12:00:00.000100Z' })
  const late = upload('a', { created: '2026-11-26T12:00:00.000200Z' })
  expect(compare(early, late, 'created')).toBeLessThan(0)
})

test('only what filters is asked for', () => {
  expect(`${parametersOf(EVERYTHING, 100, 0)}`).toBe('order=-created&limit=100&skip=0')
  const query = { state: 'active', owner: 'kim', name: 'a b&', order: 'size' } as const
  expect(`${parametersOf(query, 10, 20)}`).toBe(
    'order=size&limit=10&skip=20&state=active&owner=kim&name=a+b%26',
  )
})
