import { expect, test } from 'vitest'
import { isActive, isIdle, progressOf, secondsLeft } from '../../../src/dashboard/core/upload.ts'
import { upload } from '../uploads.ts'

test('uploading and finishing are active, all else is over', () => {
  const states = ['uploading', 'finishing', 'finished', 'refused', 'expired'] as const
  expect(states.filter((state) => isActive({ state }))).toEqual(['uploading', 'finishing'])
})

test('who sends nothing is idle, unless nobody has looked twice yet', () => {
  expect(isIdle(upload('a', { rate: 0 }))).toBe(true)
  expect(isIdle(upload('a', { rate: 1 }))).toBe(false)
  expect(isIdle(upload('a', { rate: null }))).toBe(false)
  expect(isIdle(upload('a', { rate: 0, state: 'finishing' }))).toBe(false)
})

test('the time left is that of the rest at this rate', () => {
  expect(secondsLeft(upload('a', { length: 1000, offset: 400, rate: 100 }))).toBe(6)
})

test.each([
  ['an unknown length', { length: null, rate: 100 }],
  ['an unknown rate', { rate: null }],
  ['no progress', { rate: 0 }],
  ['an end', { state: 'finished', rate: 100 }],
] as const)('with %s nobody knows the time left', (_, changes) => {
  expect(secondsLeft(upload('a', changes))).toBeNull()
})

test('while it is checked, progress is that of the step', () => {
  const step = (done: number | null, total: number | null) =>
    upload('a', { state: 'finishing', percent: 100, finish: { step: 'digest', done, total } })
  expect(progressOf(step(50, 200))).toBe(25)
  expect(progressOf(step(null, null))).toBeNull()
  expect(progressOf(step(0, 0))).toBeNull()
  expect(progressOf(upload('a', { state: 'finishing', percent: 100 }))).toBeNull()
  expect(progressOf(upload('a', { percent: 12.5 }))).toBe(12.5)
})
