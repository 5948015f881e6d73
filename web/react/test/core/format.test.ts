import { expect, test } from 'vitest'
import { formatsFor } from '../../src/core/format.ts'

const english = formatsFor('en')
const plain = (text: string) => text.replaceAll('\u00a0', ' ')

test.each([
  [0, '0 B'],
  [1023, '1,023 B'],
  [1024, '1 KiB'],
  [1536, '1.5 KiB'],
  [1024 * 1024 - 1, '1 MiB'],
  [150 * 1024 * 1024, '150 MiB'],
  [1.25 * 1024 ** 3, '1.3 GiB'],
  [1024 ** 6, '1,024 PiB'],
])('%d bytes are %s', (count, text) => {
  expect(plain(english.bytes(count))).toBe(text)
})

test.each([
  [0, '1 sec'],
  [0.4, '1 sec'],
  [59, '59 sec'],
  [60, '1 min'],
  [61, '2 min'],
  [3600, '1 hr'],
  [3900, '1 hr 5 min'],
  [48 * 3600, '2 days'],
])('%d seconds are %s', (seconds, text) => {
  expect(plain(english.duration(seconds))).toBe(text)
})

test('a percentage is never rounded up to the end', () => {
  expect(english.percent(99.99)).toBe('99%')
  expect(english.percent(100)).toBe('100%')
})

test('numbers and their units stay on one line', () => {
  expect(english.rate(1536)).toBe('1.5\u00a0KiB/s')
  expect(english.duration(3900)).not.toContain(' ')
})

test('Korean has its own words', () => {
  expect(plain(formatsFor('ko').duration(90))).toBe('2분')
  expect(plain(formatsFor('ko').bytes(1536))).toBe('1.5 KiB')
})
