import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Transfer } from '../src/transfer.ts'
import { TinyServer } from './tiny-server.ts'

const MIB = 1024 * 1024

let server: TinyServer

beforeEach(async () => {
  server = await new TinyServer().start()
})

afterEach(() => server.stop())

const large = () => {
  const bytes = new Uint8Array(130 * MIB)
  for (let index = 0; index < bytes.length; index += 4096) bytes[index] = (index / 4096) % 251
  return new File([bytes], 'large.h5', { lastModified: 1 })
}

const transferOf = (file: File, parallel = 2) =>
  new Transfer(file, { endpoint: server.endpoint, parallel, chunkSize: 40 * MIB }, () => undefined)

async function reaches(transfer: Transfer, status: string): Promise<void> {
  await vi.waitFor(() => expect(transfer.state.status).toBe(status), { timeout: 15_000 })
}

const joined = () => [...server.uploads.values()].filter((upload) => !upload.isPart)

test('a large file goes in parts where the server joins them', async () => {
  const file = large()
  const transfer = transferOf(file)
  transfer.start()
  await reaches(transfer, 'completed')
  expect([...server.uploads.values()].filter((upload) => upload.isPart)).toHaveLength(2)
  const [whole] = joined()
  expect(whole?.body.length).toBe(file.size)
  expect(whole?.body[64 * MIB]).toBe(((64 * MIB) / 4096) % 251)
  expect(whole?.metadata['filename']).toBe('large.h5')
})

test('it goes in one where the server does not', async () => {
  server.extensions = 'creation'
  const transfer = transferOf(large())
  transfer.start()
  await reaches(transfer, 'completed')
  expect(server.uploads.size).toBe(1)
})

test('a failure of one part makes all go on from where they are', async () => {
  let patches = 0
  server.rule = (request) =>
    request.method === 'PATCH' && ++patches === 3 ? { status: 503 } : undefined
  const transfer = transferOf(large())
  transfer.start()
  await reaches(transfer, 'completed')
  expect(server.methods().filter((method) => method === 'POST')).toHaveLength(3)
  expect(joined()[0]?.body.length).toBe(130 * MIB)
})

test('cancel removes all parts', async () => {
  let patches = 0
  server.rule = (request) => {
    if (request.method === 'PATCH' && ++patches > 2) return new Promise(() => undefined)
    return undefined
  }
  const transfer = transferOf(large())
  transfer.start()
  await vi.waitFor(() => expect(patches).toBeGreaterThan(2), { timeout: 10_000 })
  await transfer.cancel()
  expect(server.uploads.size).toBe(0)
  expect(localStorage.length).toBe(0)
})
