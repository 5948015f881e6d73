import { beforeEach, expect, test } from 'vitest'
import { UploadStore } from '../../../src/dashboard/core/upload-store.ts'
import { upload } from '../uploads.ts'

let store: UploadStore
const ids = () =>
  store
    .all()
    .map(({ id }) => id)
    .sort()
    .join('')

beforeEach(() => {
  store = new UploadStore()
  store.beginStream()
})

test('a change of state is told, and nothing else', () => {
  expect(store.tell(upload('a'))).toBeNull()
  expect(store.tell(upload('a', { offset: 10 }))).toBeNull()
  const finished = upload('a', { state: 'finished' })
  expect(store.tell(finished)).toEqual({ upload: finished, before: 'uploading' })
  expect(store.tell(finished)).toBeNull()
})

test('a list does not undo what the stream has told since it was asked for', () => {
  const mark = store.mark()
  store.tell(upload('a', { offset: 20 }))
  store.merge([upload('a', { offset: 10 }), upload('b')], mark)
  expect(store.get('a')?.offset).toBe(20)
  expect(ids()).toBe('ab')
})

test('a list brings nothing back that was removed since it was asked for', () => {
  const mark = store.mark()
  store.remove('a')
  store.merge([upload('a')], mark)
  expect(store.get('a')).toBeNull()
  store.merge([upload('a')], store.mark())
  expect(ids()).toBe('a')
})

test('a newer list replaces what the stream told before', () => {
  store.tell(upload('a', { offset: 10 }))
  store.merge([upload('a', { offset: 20 })], store.mark())
  expect(store.get('a')?.offset).toBe(20)
})

test('after a break, what was active and is not told any more is gone', () => {
  store.tell(upload('a'))
  store.tell(upload('b'))
  store.tell(upload('c', { state: 'finished' }))
  store.beginStream()
  store.tell(upload('a'))
  store.endGreeting()
  expect(ids()).toBe('ac')
})

test('an active upload of a list that was asked for meanwhile stays', () => {
  store.beginStream()
  store.merge([upload('a')], store.mark())
  store.endGreeting()
  expect(ids()).toBe('a')
})

test('when all lists have come again, what neither they nor the stream told is gone', () => {
  store.merge([upload('a', { state: 'finished' }), upload('b', { state: 'finished' })], 0)
  store.beginStream()
  store.tell(upload('c'))
  const mark = store.mark()
  store.merge([upload('a', { state: 'finished' })], mark)
  store.sweep(mark)
  expect(ids()).toBe('ac')
})

test('the first lists, asked for before a stream, are not swept away by the next', () => {
  const mark = store.mark()
  store.merge([upload('a', { state: 'finished' })], mark)
  store.beginStream()
  store.sweep(mark)
  expect(ids()).toBe('a')
})

test('removals are not remembered for ever', () => {
  const mark = store.mark()
  store.remove('first')
  for (let count = 0; count < 5_000; count += 1) store.remove(`x${count}`)
  store.merge([upload('first'), upload('x0')], mark)
  expect(ids()).toBe('first')
})
