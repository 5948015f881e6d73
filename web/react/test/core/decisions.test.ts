import { expect, test } from 'vitest'
import { objectionTo } from '../../src/core/acceptance.ts'
import { MAX_RETRIES, retryDelay } from '../../src/core/backoff.ts'
import { chunkSizeFor } from '../../src/core/chunk-size.ts'
import { fingerprintOf } from '../../src/core/fingerprint.ts'
import { partCount } from '../../src/core/parts.ts'
import { nextToStart } from '../../src/core/queue.ts'

const MIB = 1024 * 1024
const MBIT = 1_000_000 / 8

test('retries wait 1, 2 and 4 seconds, and then there is none', () => {
  const delays = [0, 1, 2, 3].map((attempt) => retryDelay(attempt))
  expect(delays).toEqual([1000, 2000, 4000, null])
  expect(MAX_RETRIES).toBe(3)
})

test('a server may ask for more time, but not for minutes', () => {
  expect(retryDelay(0, 10)).toBe(10_000)
  expect(retryDelay(2, 1)).toBe(4000)
  expect(retryDelay(0, 31)).toBeNull()
})

test.each([
  [null, 5 * MIB],
  [0, 2 * MIB],
  [9.99 * MBIT, 2 * MIB],
  [10 * MBIT, 5 * MIB],
  [99.9 * MBIT, 5 * MIB],
  [100 * MBIT, 10 * MIB],
  [1000 * MBIT, Number.POSITIVE_INFINITY],
])('at %s bytes per second a request has %d bytes', (rate, size) => {
  expect(chunkSizeFor(rate)).toBe(size)
})

test.each([
  ['a small file goes in one part', 127 * MIB, 3, ['concatenation'], 1],
  ['a larger one in two', 128 * MIB, 3, ['concatenation'], 2],
  ['no more than wanted', 1024 * MIB, 2, ['concatenation'], 2],
  ['never more than three', 1024 * MIB, 9, ['concatenation'], 3],
  ['one if none are wanted', 1024 * MIB, 0, ['concatenation'], 1],
  ['one if the server cannot join them', 1024 * MIB, 3, ['creation'], 1],
])('%s', (_, size, wanted, extensions, count) => {
  expect(partCount(size, wanted, extensions)).toBe(count)
})

const file = (name: string, type = '', size = 10) => ({ name, type, size })

test.each([
  ['', file('a.exe'), null],
  [' , ', file('a.exe'), null],
  ['.h5', file('A.H5'), null],
  ['.h5', file('a.h5.exe'), 'type'],
  ['.tar.gz', file('a.tar.gz'), null],
  ['.h5, .nc', file('a.nc'), null],
  ['image/*', file('a', 'image/png'), null],
  ['image/*', file('a', 'imagex/png'), 'type'],
  ['text/csv', file('a', 'Text/CSV; charset=utf-8'), null],
  ['text/csv', file('a.csv'), 'type'],
  ['*/*', file('a'), null],
  ['*', file('a'), null],
] as const)('of "%s" %o', (accept, given, objection) => {
  expect(objectionTo(given, accept, null)).toBe(objection)
})

test('a file may be as large as the limit, and no larger', () => {
  expect(objectionTo(file('a', '', 10), '', 10)).toBeNull()
  expect(objectionTo(file('a', '', 11), '', 10)).toBe('size')
  expect(objectionTo(file('a', '', 11), '.h5', 10)).toBe('type')
})

const queued = (id: string) => ({ id, isWaiting: true, isRunning: false })
const running = (id: string) => ({ id, isWaiting: false, isRunning: true })
const paused = (id: string) => ({ id, isWaiting: false, isRunning: false })

test.each([
  ['as many begin as may run', [queued('a'), queued('b'), queued('c')], 2, ['a', 'b']],
  ['those that run count', [running('a'), queued('b'), queued('c')], 2, ['b']],
  ['those that are paused do not', [paused('a'), queued('b'), queued('c')], 2, ['b', 'c']],
  ['none begins when too many run', [running('a'), running('b'), queued('c')], 1, []],
  ['a limit below one is one', [queued('a'), queued('b')], 0, ['a']],
])('%s', (_, items, limit, ids) => {
  expect(nextToStart(items, limit)).toEqual(ids)
})

test('whatever makes another upload makes another fingerprint', () => {
  const one = { name: 'a', size: 1, lastModified: 1 }
  const all = [
    fingerprintOf(one, '/files/', ''),
    fingerprintOf({ ...one, name: 'b' }, '/files/', ''),
    fingerprintOf({ ...one, size: 2 }, '/files/', ''),
    fingerprintOf({ ...one, lastModified: 2 }, '/files/', ''),
    fingerprintOf({ name: 'a', size: 1 }, '/files/', ''),
    fingerprintOf(one, '/other/', ''),
    fingerprintOf(one, '/files/', 'jobs'),
    fingerprintOf({ ...one, name: 'a/1' }, '/files/', ''),
  ]
  expect(new Set(all).size).toBe(all.length)
  expect(fingerprintOf({ ...one }, '/files/', '')).toBe(all[0])
})
