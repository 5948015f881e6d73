import { expect, test } from 'vitest'
import { SpeedMeter, secondsLeft } from '../../src/core/speed.ts'

test('the rate is bytes per second', () => {
  const meter = new SpeedMeter()
  meter.reset(0)
  meter.add(500, 1000)
  meter.add(1000, 1000)
  expect(meter.rate(1000)).toBe(2000)
})

test('nothing is said before there is enough to say', () => {
  const meter = new SpeedMeter()
  expect(meter.rate(0)).toBeNull()
  meter.reset(0)
  meter.add(100, 1000)
  expect(meter.rate(399)).toBeNull()
  expect(meter.rate(400)).toBe(2500)
})

test('a meter that was not reset begins with its first bytes', () => {
  const meter = new SpeedMeter()
  meter.add(5000, 700)
  expect(meter.rate(6000)).toBe(700)
})

test('only the last eight seconds count', () => {
  const meter = new SpeedMeter()
  meter.reset(0)
  for (let time = 1000; time <= 10_000; time += 1000) meter.add(time, 1_000_000)
  for (let time = 11_000; time <= 19_000; time += 1000) meter.add(time, 1000)
  expect(meter.rate(19_000)).toBe(1000)
})

test('while nothing comes the rate goes down, to nothing in the end', () => {
  const meter = new SpeedMeter()
  meter.reset(0)
  meter.add(1000, 8000)
  expect(meter.rate(1000)).toBe(8000)
  expect(meter.rate(4000)).toBe(2000)
  expect(meter.rate(60_000)).toBe(0)
})

test('a pause does not count as slowness', () => {
  const meter = new SpeedMeter()
  meter.reset(0)
  meter.add(1000, 500)
  meter.reset(3_600_000)
  meter.add(3_601_000, 500)
  expect(meter.rate(3_601_000)).toBe(500)
})

test.each([
  [1000, 500, 2],
  [0, null, 0],
  [1000, null, null],
  [1000, 0, null],
])('%d bytes at %s per second leave %s seconds', (bytes, rate, seconds) => {
  expect(secondsLeft(bytes, rate)).toBe(seconds)
})
