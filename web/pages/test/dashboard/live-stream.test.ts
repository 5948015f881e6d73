import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Api } from '../../src/dashboard/api.ts'
import type { StreamEvent } from '../../src/dashboard/core/event-stream.ts'
import { type Connection, LiveStream } from '../../src/dashboard/live-stream.ts'
import { refusal, StatusServer } from './status-server.ts'
import { jsonOf } from './uploads.ts'

let server: StatusServer
let stream: LiveStream
const connections: Connection[] = []
const events: StreamEvent[] = []
const onBegin = vi.fn()
const onUnauthorized = vi.fn()
const kinds = () => connections.map(({ kind }) => kind)

function follow(token = ''): void {
  const api = new Api({ api: `${server.root}api/`, uploads: `${server.root}files/`, token })
  stream = new LiveStream((signal) => api.events(signal), {
    onBegin,
    onEvents: (news) => events.push(...news),
    onConnection: (connection) => connections.push(connection),
    onUnauthorized,
  })
  stream.start()
}

beforeEach(async () => {
  vi.spyOn(Math, 'random').mockReturnValue(0)
  connections.length = 0
  events.length = 0
  onBegin.mockClear()
  onUnauthorized.mockClear()
  server = await new StatusServer().start()
})

afterEach(async () => {
  stream.stop()
  await server.stop()
  vi.restoreAllMocks()
})

test('events are told as they come, until it is stopped', async () => {
  server.put(jsonOf('a'))
  follow()
  await vi.waitFor(() => expect(events.map(({ type }) => type)).toContain('ready'))
  server.put(jsonOf('b'))
  await vi.waitFor(() => expect(events.filter(({ type }) => type === 'upload')).toHaveLength(2))
  expect(kinds()).toEqual(['connecting', 'live'])
  stream.stop()
  await vi.waitFor(() => expect(server.watchers).toBe(0))
  expect(kinds()).toEqual(['connecting', 'live'])
})

test('a stream that breaks off is asked for again after a while', async () => {
  follow()
  await vi.waitFor(() => expect(server.watchers).toBe(1))
  const broken = Date.now()
  server.cut()
  await vi.waitFor(() => expect(kinds()).toEqual(['connecting', 'live', 'broken']))
  expect(connections.at(-1)).toMatchObject({ message: '' })
  await vi.waitFor(() => expect(kinds().slice(2)).toEqual(['broken', 'broken', 'live']), 5000)
  expect(Date.now() - broken).toBeGreaterThanOrEqual(740)
  expect(onBegin).toHaveBeenCalledTimes(2)
})

test('nobody has to wait: a person and the network can end the pause', async () => {
  server.rule = () => refusal(503, 'the store does not answer')
  follow()
  for (const wake of [() => stream.retryNow(), () => window.dispatchEvent(new Event('online'))]) {
    const before = server.log.length
    await vi.waitFor(() => expect(connections.at(-1)).toMatchObject({ kind: 'broken' }))
    await vi.waitFor(() => expect(connections.at(-1)).not.toMatchObject({ retryAt: null }))
    expect(connections.at(-1)).toMatchObject({ message: 'the store does not answer' })
    wake()
    await vi.waitFor(() => expect(server.log.length).toBeGreaterThan(before))
  }
})

test('failures in a row make the pause longer', async () => {
  server.rule = () => refusal(500, '')
  follow()
  const pauses: number[] = []
  for (let count = 0; count < 3; count += 1) {
    await vi.waitFor(() =>
      expect(connections.at(-1)).toMatchObject({ retryAt: expect.any(Number) }),
    )
    const last = connections.at(-1)
    if (last?.kind === 'broken') pauses.push(Math.round(((last.retryAt ?? 0) - Date.now()) / 250))
    connections.length = 0
    stream.retryNow()
  }
  expect(pauses).toEqual([3, 6, 12])
})

test('where a token is wanted, that is said and nothing more is tried', async () => {
  server.token = 'right'
  follow('wrong')
  await vi.waitFor(() => expect(onUnauthorized).toHaveBeenCalledOnce())
  expect(kinds()).toEqual(['connecting'])
  expect(server.log).toEqual(['GET /api/events'])
})

test('an event that makes no sense breaks the stream off', async () => {
  const api = new Api({ api: `${server.root}api/`, uploads: '', token: '' })
  stream = new LiveStream((signal) => api.events(signal), {
    onBegin,
    onEvents: () => {
      throw new SyntaxError('no JSON')
    },
    onConnection: (connection) => connections.push(connection),
    onUnauthorized,
  })
  stream.start()
  await vi.waitFor(() => expect(kinds()).toContain('broken'))
  await vi.waitFor(() => expect(server.watchers).toBe(0))
})

test('a stream that is silent for too long is given up', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    // Never answers.
    stream = new LiveStream(
      (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason))
        }),
      { onBegin, onEvents: vi.fn(), onConnection: (c) => connections.push(c), onUnauthorized },
    )
    stream.start()
    await vi.advanceTimersByTimeAsync(44_000)
    expect(kinds()).toEqual(['connecting'])
    await vi.advanceTimersByTimeAsync(1_000)
    expect(kinds()).toEqual(['connecting', 'broken'])
  } finally {
    vi.useRealTimers()
  }
})

test('a stream that lived and then ended by itself is asked for again at once', async () => {
  let now = Date.now()
  vi.spyOn(Date, 'now').mockImplementation(() => now)
  const ends: (() => void)[] = []
  const open = async () =>
    new Response(
      new ReadableStream({
        start: (controller) => {
          controller.enqueue(new TextEncoder().encode(': here\n\n'))
          ends.push(() => controller.close())
        },
      }),
    )
  stream = new LiveStream(open, {
    onBegin,
    onEvents: vi.fn(),
    onConnection: (connection) => connections.push(connection),
    onUnauthorized,
  })
  stream.start()
  await vi.waitFor(() => expect(kinds()).toEqual(['connecting', 'live']))
  now += 600_000
  ends[0]?.()
  await vi.waitFor(() => expect(onBegin).toHaveBeenCalledTimes(2))
  expect(kinds()).not.toContain('broken')
})
