import { expect, test } from 'vitest'
import { graphOf, HEIGHT, topFor, WIDTH } from '../../../src/dashboard/core/graph.ts'
import { RateHistory, SPAN, totalRate } from '../../../src/dashboard/core/rate-history.ts'
import { upload } from '../uploads.ts'

const KIB = 1024
const MIB = 1024 * KIB

test('rates add up over those that are on their way', () => {
  const uploads = [
    upload('a', { rate: 100 }),
    upload('b', { rate: 50 }),
    upload('c', { rate: null }),
    upload('d', { state: 'finished', rate: 1000 }),
  ]
  expect(totalRate(uploads)).toBe(150)
})

test('each upload has its own history until it ends', () => {
  const history = new RateHistory()
  history.note(1000, [upload('a', { rate: 100 }), upload('b', { rate: null })], true)
  history.note(2000, [upload('a', { rate: 200 }), upload('b', { state: 'refused' })], true)
  expect(history.all().map(({ rate }) => rate)).toEqual([100, 200])
  expect(history.of('a')).toEqual([
    { time: 1000, rate: 100 },
    { time: 2000, rate: 200 },
  ])
  expect(history.of('b')).toEqual([])
})

test('while nobody tells rates, they are unknown', () => {
  const history = new RateHistory()
  history.note(1000, [upload('a', { rate: 100 })], false)
  expect(history.all()).toEqual([{ time: 1000, rate: null }])
  expect(history.of('a')).toEqual([{ time: 1000, rate: null }])
})

test('two minutes are kept, and the sample before them', () => {
  const history = new RateHistory()
  for (let second = 0; second <= 300; second += 1) history.note(second * 1000, [], true)
  const times = history.all().map(({ time }) => time / 1000)
  expect([times[0], times.at(-1), times.length]).toEqual([180, 300, 121])
})

test('after a long sleep only the last sample before it is left', () => {
  const history = new RateHistory()
  history.note(0, [], true)
  history.note(1000, [], true)
  history.note(1000 + 2 * SPAN, [], true)
  expect(history.all().map(({ time }) => time)).toEqual([1000, 1000 + 2 * SPAN])
})

test.each([
  [0, KIB],
  [900, KIB],
  [KIB + 1, 2 * KIB],
  [3 * KIB, 5 * KIB],
  [12 * KIB, 20 * KIB],
  [600 * KIB, 1 * MIB],
  [1000 * KIB, 1 * MIB],
  [MIB, MIB],
  [40 * MIB, 50 * MIB],
])('above %d the scale goes to %d', (highest, top) => {
  expect(topFor(highest)).toBe(top)
})

test('the line goes from the left, two minutes ago, to the right, now', () => {
  const samples = [
    { time: 0, rate: 0 },
    { time: SPAN / 2, rate: KIB },
    { time: SPAN, rate: KIB / 2 },
  ]
  const { line, area, top, highest } = graphOf(samples, SPAN)
  expect(line).toBe(`M0 ${HEIGHT}L${WIDTH / 2} 0L${WIDTH} ${HEIGHT / 2}`)
  expect(area).toBe(`${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`)
  expect([top, highest]).toEqual([KIB, KIB])
})

test('the line is interrupted where the rate was unknown', () => {
  const samples = [0, null, null, 0].map((rate, index) => ({ time: index * 1000, rate }))
  expect(graphOf(samples, 3000).line.match(/M/g)).toHaveLength(2)
  expect(graphOf([], 0)).toMatchObject({ line: '', area: '' })
})
