import { act, renderHook, waitFor } from '@testing-library/react'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type TusUploadOptions, useTusUpload } from '../src/use-tus-upload.ts'
import { fileOf } from './files.ts'
import { TinyServer } from './tiny-server.ts'

let server: TinyServer

beforeEach(async () => {
  server = await new TinyServer().start()
})

afterEach(() => server.stop())

const use = (options: Partial<TusUploadOptions> = {}) =>
  renderHook(() => useTusUpload({ endpoint: server.endpoint, ...options }))

function stallPatches(): void {
  server.rule = (request) => (request.method === 'PATCH' ? new Promise(() => undefined) : undefined)
}

test('a file is uploaded, and the callbacks hear of it', async () => {
  const [onProgress, onComplete, onError] = [vi.fn(), vi.fn(), vi.fn()]
  const { result } = use({ onProgress, onComplete, onError })
  expect(result.current).toMatchObject({ status: 'idle', progress: 0, file: null })
  const file = fileOf(3000)
  act(() => result.current.start(file))
  await waitFor(() => expect(result.current.status).toBe('completed'))
  expect(result.current).toMatchObject({ progress: 100, file, uploadUrl: `${server.endpoint}1` })
  expect(onProgress).toHaveBeenCalled()
  expect(onComplete).toHaveBeenCalledOnce()
  expect(onError).not.toHaveBeenCalled()
})

test('the functions stay the same', async () => {
  const { result } = use()
  const before = result.current
  act(() => result.current.start(fileOf(3000)))
  await waitFor(() => expect(result.current.status).toBe('completed'))
  for (const name of ['start', 'pause', 'resume', 'cancel', 'reset'] as const) {
    expect(result.current[name]).toBe(before[name])
  }
})

test('pause, resume and start without a file', async () => {
  const { result } = use({ chunkSize: 1000 })
  let patches = 0
  server.rule = (request) =>
    request.method === 'PATCH' && [2, 4].includes(++patches)
      ? new Promise(() => undefined)
      : undefined
  act(() => result.current.start(fileOf(4000)))
  await waitFor(() => expect(patches).toBe(2))
  act(() => result.current.pause())
  expect(result.current.status).toBe('paused')
  act(() => result.current.resume())
  await waitFor(() => expect(patches).toBe(4))
  act(() => result.current.pause())
  act(() => result.current.start())
  await waitFor(() => expect(result.current.status).toBe('completed'))
  expect(server.methods().filter((method) => method === 'POST')).toHaveLength(1)
})

test('cancel removes it from the server', async () => {
  stallPatches()
  const { result } = use()
  act(() => result.current.start(fileOf(3000)))
  await waitFor(() => expect(server.uploads.size).toBe(1))
  await act(() => result.current.cancel())
  expect(result.current).toMatchObject({ status: 'idle', file: null })
  expect(server.uploads.size).toBe(0)
})

test('reset leaves what the server has', async () => {
  const { result } = use()
  act(() => result.current.start(fileOf(3000)))
  await waitFor(() => expect(result.current.status).toBe('completed'))
  act(() => result.current.reset())
  expect(result.current.status).toBe('idle')
  expect(server.uploads.size).toBe(1)
})

test('a file that is not taken is an error', () => {
  const onError = vi.fn()
  const { result } = use({ accept: '.h5', onError })
  act(() => result.current.start(fileOf(10, 'a.exe')))
  expect(result.current).toMatchObject({ status: 'error', error: { kind: 'type' } })
  expect(onError).toHaveBeenCalledOnce()
  expect(server.log).toEqual([])
})

test('when the component goes, the upload is paused', async () => {
  stallPatches()
  const { result, unmount } = use()
  act(() => result.current.start(fileOf(3000)))
  await waitFor(() => expect(server.uploads.size).toBe(1))
  unmount()
  expect(localStorage.length).toBe(1)
  expect(server.uploads.size).toBe(1)
})
