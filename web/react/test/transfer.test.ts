import type { IncomingMessage } from 'node:http'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Transfer, type TransferOptions, type UploadState } from '../src/transfer.ts'
import { bytesOf, fileOf } from './files.ts'
import { TinyServer } from './tiny-server.ts'

const KIB = 1024

let server: TinyServer
let states: UploadState[]

beforeEach(async () => {
  server = await new TinyServer().start()
  states = []
})

afterEach(async () => {
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
  await server.stop()
})

function transferOf(file: File, options: Partial<TransferOptions> = {}): Transfer {
  return new Transfer(file, { endpoint: server.endpoint, ...options }, (state) => {
    states.push(state)
  })
}

const statuses = () => states.map((state) => state.status)

async function reaches(transfer: Transfer, status: UploadState['status']): Promise<void> {
  await vi.waitFor(() => expect(transfer.state.status).toBe(status), { timeout: 15_000 })
}

/** Until the returned function is called, requests of this method get no answer. */
function holdBack(method: string): { come: Promise<void>; letGo: () => void } {
  let letGo: () => void = () => undefined
  let came: () => void = () => undefined
  const come = new Promise<void>((resolve) => {
    came = resolve
  })
  const held = new Promise<void>((resolve) => {
    letGo = resolve
  })
  server.rule = async (request) => {
    if (request.method !== method) return undefined
    came()
    await held
    return undefined
  }
  return { come, letGo }
}

const refuseOnce = (method: string, status: number, text = '', headers = {}) => {
  let isDone = false
  server.rule = (request: IncomingMessage) => {
    if (isDone || request.method !== method) return undefined
    isDone = true
    return { status, text, headers }
  }
}

test('a file arrives whole, with what is known of it', async () => {
  const file = fileOf(300 * KIB, '시료 3.h5', 'application/x-hdf5')
  const transfer = transferOf(file, { destination: 'jobs/42', metadata: { run: '7' } })
  transfer.start()
  await reaches(transfer, 'completed')
  expect(transfer.state).toMatchObject({ sent: file.size, progress: 100, eta: 0, error: null })
  const [upload] = [...server.uploads.values()]
  expect(upload?.body.equals(await bytesOf(file))).toBe(true)
  expect(upload?.metadata).toEqual({
    run: '7',
    filename: '시료 3.h5',
    filetype: 'application/x-hdf5',
    destination: 'jobs/42',
  })
  expect(transfer.state.uploadUrl).toBe(`${server.endpoint}1`)
})

test('an empty file arrives as well', async () => {
  const transfer = transferOf(fileOf(0))
  transfer.start()
  await reaches(transfer, 'completed')
  expect(transfer.state.progress).toBe(100)
})

test('a completed upload is not remembered, and does not start again', async () => {
  const transfer = transferOf(fileOf(10))
  transfer.start()
  await reaches(transfer, 'completed')
  expect(localStorage.length).toBe(0)
  transfer.start()
  expect(transfer.state.status).toBe('completed')
})

test('requests are as long as asked for', async () => {
  const transfer = transferOf(fileOf(100 * KIB), { chunkSize: 40 * KIB })
  transfer.start()
  await reaches(transfer, 'completed')
  const sizes = server.log.filter((entry) => entry.method === 'PATCH').map((entry) => entry.size)
  expect(sizes).toEqual([40 * KIB, 40 * KIB, 20 * KIB])
})

test('the length of requests follows the speed between two of them', async () => {
  // A clock on which every look takes a second: so slow that the shortest requests are right.
  let now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => {
    now += 1000
    return now
  })
  const MIB = KIB * KIB
  const transfer = transferOf(new File([new Uint8Array(10 * MIB)], 'a'))
  transfer.start()
  await reaches(transfer, 'completed')
  const sizes = server.log.filter((entry) => entry.method === 'PATCH').map((entry) => entry.size)
  expect(sizes[0]).toBe(5 * MIB)
  expect(sizes.slice(1)).toEqual([2 * MIB, 2 * MIB, MIB])
})

test('while the server checks the file, the state says so', async () => {
  const held = holdBack('PATCH')
  const transfer = transferOf(fileOf(10 * KIB))
  transfer.start()
  await held.come
  await reaches(transfer, 'finishing')
  held.letGo()
  await reaches(transfer, 'completed')
  expect(statuses().indexOf('finishing')).toBeGreaterThan(statuses().indexOf('uploading'))
})

test('after a pause it goes on where the server stands', async () => {
  const file = fileOf(100 * KIB)
  const transfer = transferOf(file, { chunkSize: 40 * KIB })
  let patches = 0
  const gate = { open: () => undefined as undefined }
  const second = new Promise<void>((came) => {
    server.rule = async (request) => {
      if (request.method !== 'PATCH' || ++patches !== 2) return undefined
      came()
      await new Promise<void>((resolve) => {
        gate.open = () => void resolve() as undefined
      })
      return { status: 500 }
    }
  })
  transfer.start()
  await second
  transfer.pause()
  expect(transfer.state).toMatchObject({ status: 'paused', speed: null, eta: null })
  gate.open()
  transfer.start()
  await reaches(transfer, 'completed')
  expect(server.methods().filter((method) => method === 'POST')).toHaveLength(1)
  expect([...server.uploads.values()][0]?.body.equals(await bytesOf(file))).toBe(true)
})

test('after a reload the same file goes on, and another file does not', async () => {
  const held = holdBack('PATCH')
  const before = transferOf(fileOf(50 * KIB), { chunkSize: 20 * KIB })
  before.start()
  await held.come
  before.pause()
  held.letGo()
  server.rule = () => undefined
  expect(localStorage.length).toBe(1)

  const other = transferOf(fileOf(50 * KIB), { destination: 'elsewhere' })
  other.start()
  await reaches(other, 'completed')
  const after = transferOf(fileOf(50 * KIB))
  after.start()
  await reaches(after, 'completed')
  expect(server.methods().filter((method) => method === 'POST')).toHaveLength(2)
  expect(localStorage.length).toBe(0)
})

test('an upload that the server has forgotten begins anew', async () => {
  const held = holdBack('PATCH')
  const transfer = transferOf(fileOf(5 * KIB), { chunkSize: KIB })
  transfer.start()
  await held.come
  transfer.pause()
  held.letGo()
  server.rule = () => undefined
  server.uploads.clear()
  transfer.start()
  await reaches(transfer, 'completed')
  expect(server.methods().filter((method) => method === 'POST')).toHaveLength(2)
})

test.each([502, 401])('a HEAD that is answered %d does not make it begin anew', async (status) => {
  const held = holdBack('PATCH')
  const transfer = transferOf(fileOf(5 * KIB), { chunkSize: KIB })
  transfer.start()
  await held.come
  transfer.pause()
  held.letGo()
  refuseOnce('HEAD', status)
  transfer.start()
  if (status === 401) {
    await reaches(transfer, 'error')
    expect(transfer.state.error?.kind).toBe('unauthorized')
    transfer.start()
  }
  await reaches(transfer, 'completed')
  expect(server.methods().filter((method) => method === 'POST')).toHaveLength(1)
})

test('what passes is tried again after a while, and the user is told', async () => {
  refuseOnce('PATCH', 503, 'ERR_SERVER_SHUTDOWN: the server is stopping')
  const transfer = transferOf(fileOf(5 * KIB))
  transfer.start()
  await vi.waitFor(() => expect(transfer.state.error?.code).toBe('ERR_SERVER_SHUTDOWN'))
  expect(transfer.state).toMatchObject({ status: 'uploading', attempt: 1, speed: null })
  await reaches(transfer, 'completed')
  expect(transfer.state).toMatchObject({ error: null, attempt: 0 })
  expect(server.methods()).toEqual(['POST', 'PATCH', 'HEAD', 'PATCH'])
})

test('after three retries in vain it gives up, and the user may try again', async () => {
  server.rule = (request) => (request.method === 'PATCH' ? { status: 500 } : undefined)
  const transfer = transferOf(fileOf(5 * KIB))
  transfer.start()
  await reaches(transfer, 'error')
  expect(server.methods().filter((method) => method === 'PATCH')).toHaveLength(4)
  expect(transfer.state.error).toMatchObject({ kind: 'server', status: 500, canRetry: true })
  server.rule = () => undefined
  transfer.start()
  await reaches(transfer, 'completed')
})

test('bytes that get through make the next failure the first again', async () => {
  let patches = 0
  server.rule = (request) =>
    request.method === 'PATCH' && ++patches % 2 === 0 ? { status: 503 } : undefined
  const transfer = transferOf(fileOf(5 * KIB), { chunkSize: KIB })
  transfer.start()
  await reaches(transfer, 'completed')
  // Four failures, and never more than one in a row.
  expect(patches).toBe(9)
  expect(Math.max(...states.map((state) => state.attempt))).toBe(1)
})

test('a pause ends the waiting for a retry', async () => {
  server.rule = (request) => (request.method === 'POST' ? { status: 500 } : undefined)
  const transfer = transferOf(fileOf(5 * KIB))
  transfer.start()
  await vi.waitFor(() => expect(transfer.state.attempt).toBe(1))
  transfer.pause()
  expect(transfer.state).toMatchObject({ status: 'paused', error: null })
  const { length } = server.log
  await new Promise((resolve) => setTimeout(resolve, 1200))
  expect(server.log).toHaveLength(length)
})

test.each([
  [413, 'ERR_QUOTA_EXCEEDED: you have used up your 10 GiB', true],
  [415, 'ERR_KIND_NOT_ALLOWED: exe is not taken here', false],
  [507, 'ERR_STORAGE_FULL: there is no room', true],
])('%d at the creation is final, in the words of the server', async (status, text, canRetry) => {
  server.rule = (request) => (request.method === 'POST' ? { status, text } : undefined)
  const transfer = transferOf(fileOf(5 * KIB))
  transfer.start()
  await reaches(transfer, 'error')
  expect(transfer.state.error).toMatchObject({ status, message: text.split(': ')[1], canRetry })
  expect(server.log).toHaveLength(1)
})

test('a file that a check has refused is forgotten', async () => {
  refuseOnce('PATCH', 422, 'ERR_INFECTED: the file is infected: Eicar')
  const transfer = transferOf(fileOf(5 * KIB))
  transfer.start()
  await reaches(transfer, 'error')
  expect(transfer.state.error).toMatchObject({ code: 'ERR_INFECTED', canRetry: false })
  await vi.waitFor(() => expect(localStorage.length).toBe(0))
})

test('a file that is longer than the server takes is not sent', async () => {
  server.maxSize = 4 * KIB
  const transfer = transferOf(fileOf(5 * KIB))
  transfer.start()
  await reaches(transfer, 'error')
  expect(transfer.state.error?.kind).toBe('size')
  expect(server.log).toEqual([])
})

test('each request has a fresh token', async () => {
  const tokens: string[] = []
  server.rule = (request) => {
    tokens.push(`${request.headers.authorization}`)
    return undefined
  }
  let count = 0
  const token = () => `token-${++count}`
  const transfer = transferOf(fileOf(4 * KIB), { chunkSize: 2 * KIB, token })
  transfer.start()
  await reaches(transfer, 'completed')
  expect(tokens).toEqual(['Bearer token-1', 'Bearer token-2', 'Bearer token-3'])
})

test('a token that expires in the middle is replaced once, and the upload goes on', async () => {
  let valid = 'old'
  server.rule = (request) =>
    request.headers.authorization === `Bearer ${valid}` ? undefined : { status: 401 }
  const refusals: (string | null)[] = []
  let current = 'old'
  const token = async (refused: string | null) => {
    refusals.push(refused)
    if (refused !== null) current = valid
    // After the first chunk the server takes another.
    if (refusals.length === 2) valid = 'new'
    return current
  }
  const transfer = transferOf(fileOf(4 * KIB), { chunkSize: 2 * KIB, token })
  transfer.start()
  await reaches(transfer, 'completed')
  expect(refusals).toEqual([null, null, 'old', null])
  expect(statuses()).not.toContain('error')
})

test('without a token to be had, it says so', async () => {
  const token = () => Promise.reject(new Error('the portal is down'))
  const transfer = transferOf(fileOf(4 * KIB), { token })
  transfer.start()
  await reaches(transfer, 'error')
  expect(transfer.state.error).toMatchObject({ kind: 'unauthorized', canRetry: true })
  expect(server.log).toEqual([])
})

test('cancel removes the upload from the server and from the memory', async () => {
  const held = holdBack('PATCH')
  const transfer = transferOf(fileOf(5 * KIB))
  transfer.start()
  await held.come
  const cancelled = transfer.cancel()
  held.letGo()
  await cancelled
  expect(transfer.state.status).toBe('idle')
  expect(server.uploads.size).toBe(0)
  expect(localStorage.length).toBe(0)
})

test('cancel of what is completed leaves it on the server', async () => {
  const transfer = transferOf(fileOf(5 * KIB))
  transfer.start()
  await reaches(transfer, 'completed')
  await transfer.cancel()
  expect(server.uploads.size).toBe(1)
})

test('without network it waits, however long, and goes on with it', async () => {
  server.rule = (request) => {
    if (request.method === 'POST') request.socket.destroy()
    return undefined
  }
  vi.spyOn(navigator, 'onLine', 'get').mockReturnValue(false)
  const transfer = transferOf(fileOf(5 * KIB))
  transfer.start()
  await vi.waitFor(() => expect(transfer.state.error?.kind).toBe('offline'))
  expect(transfer.state).toMatchObject({ status: 'uploading', attempt: 0 })
  server.rule = () => undefined
  window.dispatchEvent(new Event('online'))
  await reaches(transfer, 'completed')
})
