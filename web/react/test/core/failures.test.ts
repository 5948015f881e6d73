import { expect, test } from 'vitest'
import { failureBefore, failureOf, failureWithoutAnswer } from '../../src/core/failures.ts'
import { english, failureText, fill, korean, textsFor } from '../../src/texts.ts'

const answer = (status: number, body = '', retryAfter: string | null = null) =>
  failureOf({ status, body, retryAfter })

test.each([
  // status, kind, passes by itself, the user may try again
  [400, 'refused', false, true],
  [401, 'unauthorized', false, true],
  [403, 'refused', false, true],
  [409, 'refused', true, true],
  [413, 'refused', false, true],
  [415, 'refused', false, false],
  [422, 'refused', false, false],
  [423, 'refused', true, true],
  [429, 'refused', true, true],
  [460, 'refused', true, true],
  [500, 'server', true, true],
  [501, 'server', false, true],
  [503, 'server', true, true],
  [507, 'full', false, true],
] as const)('%d is %s', (status, kind, isPassing, canRetry) => {
  expect(answer(status)).toMatchObject({ status, kind, isPassing, canRetry })
})

test.each(['ERR_MAX_SIZE_EXCEEDED', 'ERR_INVALID_NAME'])('%s cannot be mended', (code) => {
  expect(answer(413, `${code}: no`).canRetry).toBe(false)
})

test.each([
  ['ERR_INFECTED: the file is infected: Eicar\n', 'ERR_INFECTED', 'the file is infected: Eicar'],
  ['{"code": "ERR_X", "message": "no"}', 'ERR_X', 'no'],
  ['{"code": 1, "message": ""}', null, null],
  ['{"broken', null, null],
  ['no such thing', null, 'no such thing'],
  ['<html><body>502 Bad Gateway</body></html>', null, null],
  ['x'.repeat(301), null, null],
  ['', null, null],
])('%j says %j, %j', (body, code, message) => {
  expect(answer(500, body)).toMatchObject({ code, message })
})

test.each([
  ['10', 10],
  [' 3 ', 3],
  ['Thu, 26 Nov 2026 12:00:00 GMT', null],
  [null, null],
])('Retry-After %j means %j seconds', (value, seconds) => {
  expect(answer(503, '', value).retryAfter).toBe(seconds)
})

test('no answer is a matter of the network, and passes', () => {
  expect(failureWithoutAnswer(true)).toMatchObject({ kind: 'network', isPassing: true })
  expect(failureWithoutAnswer(false)).toMatchObject({ kind: 'offline', isPassing: true })
})

test('what is refused before it begins cannot be tried again', () => {
  expect(failureBefore('type')).toMatchObject({ kind: 'type', isPassing: false, canRetry: false })
})

test('the words are ours, and then the sentence of the server', () => {
  const infected = answer(422, 'ERR_INFECTED: the file is infected: Eicar')
  expect(failureText(infected, english)).toBe(
    'The server refused the upload. The file is infected: Eicar.',
  )
  expect(failureText(answer(502), english)).toBe('The server failed.')
  expect(failureText(answer(400, 'Why?'), english)).toBe('The server refused the upload. Why?')
})

test('texts are filled in, and what has no value stays', () => {
  expect(fill('{a} of {b}', { a: 1 })).toBe('1 of {b}')
})

test.each([
  ['ko-KR', korean],
  ['KO', korean],
  ['kok', english],
  ['de', english],
])('%s has texts', (language, texts) => {
  expect(textsFor(language)).toBe(texts)
})

test('both languages say the same things with the same values', () => {
  const values = (texts: object): string[] =>
    Object.entries(texts).flatMap(([key, text]) =>
      typeof text === 'string'
        ? [`${key}: ${[...text.matchAll(/\{\w+\}/g)].map(String).sort().join()}`]
        : values(text as object).map((inner) => `${key}.${inner}`),
    )
  expect(values(korean)).toEqual(values(english))
})
