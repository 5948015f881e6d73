import { expect, test } from 'vitest'
import { EventParser } from '../../../src/dashboard/core/event-stream.ts'

const TEXT = [
  'retry: 2000\n\n',
  'event: upload\r\ndata: {"id":"a"}\r\n\r\n',
  ': nothing new\r\r',
  'data:first\ndata: second\ndata\nid: 7\n\n',
  'event: storage\n\n',
  'event: ready\rdata: {}\r\r',
  'data: never ended\n',
].join('')

const EVENTS = [
  { type: 'upload', data: '{"id":"a"}' },
  { type: 'message', data: 'first\nsecond\n' },
  { type: 'ready', data: '{}' },
]

test('a text is taken apart as the standard says', () => {
  expect(new EventParser().feed(TEXT)).toEqual(EVENTS)
})

test.each([1, 2, 3, 5, 7, 11])('the same comes out of pieces of %d', (size) => {
  const parser = new EventParser()
  const events = []
  for (let at = 0; at < TEXT.length; at += size) {
    events.push(...parser.feed(TEXT.slice(at, at + size)))
    events.push(...parser.feed(''))
  }
  expect(events).toEqual(EVENTS)
})

test('an event is told with its last byte, not with the next event', () => {
  const parser = new EventParser()
  expect(parser.feed('data: a\r')).toEqual([])
  expect(parser.feed('\n\r')).toEqual([{ type: 'message', data: 'a' }])
})

test('only one space after the colon belongs to the form', () => {
  expect(new EventParser().feed('data:  a: b\n\n')).toEqual([{ type: 'message', data: ' a: b' }])
})
