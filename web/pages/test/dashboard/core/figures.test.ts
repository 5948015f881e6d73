import { expect, test } from 'vitest'
import { momentsFor } from '../../../src/dashboard/core/moments.ts'
import { delayAfter, isTooShort } from '../../../src/dashboard/core/reconnect.ts'
import { startOfDay, tallyOf } from '../../../src/dashboard/core/tally.ts'
import { upload } from '../uploads.ts'

const SECOND = 1000
const HOUR = 3600 * SECOND

test('uploads are counted by what they do', () => {
  const now = Date.now()
  const at = (time: number) => new Date(time).toISOString()
  const today = at(startOfDay(now) + SECOND)
  const tally = tallyOf(
    [
      upload('a', { rate: 10 }),
      upload('b', { rate: 0 }),
      upload('c', { state: 'finishing' }),
      upload('d', { state: 'finished', modified: today }),
      upload('e', { state: 'finished', modified: at(startOfDay(now) - SECOND) }),
      upload('f', { state: 'finished', modified: today, concat: 'partial' }),
      upload('g', { state: 'refused', modified: today }),
    ],
    now,
  )
  expect(tally).toEqual({
    uploading: 2,
    idle: 1,
    finishing: 1,
    rate: 10,
    finishedToday: 1,
    refusedToday: 1,
  })
})

test.each([
  [0, 'now'],
  [-59 * SECOND, 'now'],
  [-61 * SECOND, '1 min. ago'],
  [-HOUR * 5, '5 hr. ago'],
  [-HOUR * 47, '1 day ago'],
  [-HOUR * 24 * 9, '9 days ago'],
  [HOUR * 23, 'in 23 hr.'],
])('%d milliseconds from now is %s', (span, text) => {
  expect(momentsFor('en').relative(1e12 + span, 1e12)).toBe(text)
})

test('Korean has its own words', () => {
  expect(momentsFor('ko').relative(0, 3 * 60 * SECOND)).toBe('3분 전')
  expect(momentsFor('ko').exact(Date.UTC(2026, 10, 26, 3))).toMatch(/^2026. 11. 26./)
})

test('each failure in a row doubles the wait, up to half a minute', () => {
  const delays = [1, 2, 3, 4, 5, 6, 20].map((failures) => delayAfter(failures, 0.5) / SECOND)
  expect(delays).toEqual([1, 2, 4, 8, 16, 30, 30])
  expect(delayAfter(1, 0)).toBe(750)
  expect(delayAfter(1, 0.999)).toBeLessThan(1250)
})

test('a stream that ends at once is a failure, one that lived is not', () => {
  expect(isTooShort(10)).toBe(true)
  expect(isTooShort(600 * SECOND)).toBe(false)
})
