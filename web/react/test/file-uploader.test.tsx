import { createEvent, fireEvent, render, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import axe from 'axe-core'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FileUploader, type FileUploaderProps } from '../src/file-uploader.tsx'
import { fileOf } from './files.ts'
import { TinyServer } from './tiny-server.ts'

let server: TinyServer

beforeEach(async () => {
  server = await new TinyServer().start()
})

afterEach(() => server.stop())

function show(props: Partial<FileUploaderProps> = {}) {
  return render(<FileUploader endpoint={server.endpoint} language="en" {...props} />)
}

const input = (label = /drop files here/i) => screen.getByLabelText<HTMLInputElement>(label)
const row = (name: string) => {
  const found = screen.getByTitle(name).closest('li')
  if (found === null) throw new Error(`${name} is in no row`)
  return within(found)
}
const button = (name: string | RegExp) => screen.findByRole('button', { name })
const choose = (...files: File[]) =>
  // As somebody would who has switched the filter of the file dialogue off.
  userEvent.setup({ applyAccept: false }).upload(input(), files)

/** Contrast needs a real browser; the tests there look at it. */
async function hasNoViolation(): Promise<void> {
  const rules = { 'color-contrast': { enabled: false }, region: { enabled: false } }
  const { violations } = await axe.run(document.body, { rules })
  expect(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)])).toEqual([])
}

function stallPatches(): void {
  server.rule = (request) => (request.method === 'PATCH' ? new Promise(() => undefined) : undefined)
}

test('at first there is a place for files, and what it takes', async () => {
  show({ accept: '.h5,.nc', maxSize: 1024 ** 3 })
  expect(input()).toHaveProperty('accept', '.h5,.nc')
  expect(input().getAttribute('aria-describedby')).toBe(
    screen.getByText(/^h5, nc · up to 1.GiB each$/).id,
  )
  expect(screen.queryByRole('region', { name: 'Uploads' })).toBeNull()
  await hasNoViolation()
})

test('chosen files arrive, and the next can be uploaded', async () => {
  const onComplete = vi.fn()
  show({ onComplete })
  await choose(fileOf(3000, 'a.h5'), fileOf(2000, 'b.h5'))
  await screen.findByText('2 of 2 uploaded')
  expect(row('a.h5').getByText(/^Uploaded · 2.9.KiB$/)).toBeTruthy()
  expect(onComplete.mock.calls.map(([item]) => item.file.name).sort()).toEqual(['a.h5', 'b.h5'])
  await hasNoViolation()

  const opened = vi.spyOn(input(), 'click')
  await userEvent.click(await button('Upload another'))
  expect(opened).toHaveBeenCalledOnce()
  expect(screen.queryByTitle('a.h5')).toBeNull()
  expect(server.uploads.size).toBe(2)
})

test('dropped files are taken, and folders are explained', async () => {
  show()
  const zone = screen.getByText(/drop files here/i).closest('div')
  if (zone === null) throw new Error('no zone')
  const itemOf = (file: File, isDirectory: boolean) => ({
    kind: 'file',
    getAsFile: () => file,
    webkitGetAsEntry: () => ({ isDirectory }),
  })
  const items = [itemOf(fileOf(10, 'a.h5'), false), itemOf(fileOf(0, 'runs'), true)]
  const dataTransfer = { types: ['Files'], items }
  fireEvent.dragEnter(zone, { dataTransfer })
  expect(screen.getByText('Let go to upload')).toBeTruthy()
  const over = createEvent.dragOver(zone, { dataTransfer })
  fireEvent(zone, over)
  expect(over.defaultPrevented).toBe(true)
  fireEvent.drop(zone, { dataTransfer })
  expect(row('runs').getByText(/This is a folder/)).toBeTruthy()
  await waitFor(() => row('a.h5').getByText(/^Uploaded/))
  expect(screen.queryByText('Let go to upload')).toBeNull()
})

test('what is dragged and is no file leaves the zone alone', () => {
  show()
  const zone = screen.getByText(/drop files here/i).closest('div') as HTMLElement
  fireEvent.dragEnter(zone, { dataTransfer: { types: ['text/plain'], items: [] } })
  expect(screen.queryByText('Let go to upload')).toBeNull()
})

test('files that are not taken are refused before a byte is sent', async () => {
  const onError = vi.fn()
  show({ accept: '.h5', maxSize: 100, onError })
  await choose(fileOf(10, 'a.exe'), fileOf(101, 'b.h5'))
  expect(row('a.exe').getByText(/This kind of file is not taken here/)).toBeTruthy()
  expect(row('b.h5').getByText(/The file is too large/)).toBeTruthy()
  expect(onError).toHaveBeenCalledTimes(2)
  expect(server.log).toEqual([])
  expect(screen.queryByRole('button', { name: /try again/i })).toBeNull()
  await hasNoViolation()
  await userEvent.click(await button('Remove from the list: a.exe'))
  expect(screen.queryByTitle('a.exe')).toBeNull()
})

test('no more run at once than allowed, and the next begin by themselves', async () => {
  stallPatches()
  show({ concurrency: 2 })
  await choose(fileOf(10, 'a'), fileOf(11, 'b'), fileOf(12, 'c'))
  await waitFor(() => expect(server.uploads.size).toBe(2))
  expect(row('c').getByText(/^Waiting for its turn/)).toBeTruthy()
  await hasNoViolation()
  server.rule = () => undefined
  await userEvent.click(await button('Cancel: a'))
  await waitFor(() => row('c').getByText(/^Uploaded/))
})

test('a paused upload keeps its place and goes on', async () => {
  stallPatches()
  show()
  await choose(fileOf(4000, 'a'))
  // While the bytes are on their way it can be paused; here they are at once.
  await screen.findByText(/the server is checking/)
  expect(screen.queryByRole('button', { name: 'Pause: a' })).toBeNull()
  await hasNoViolation()
})

test('pause and resume', async () => {
  show({ chunkSize: 1000 })
  let patches = 0
  server.rule = (request) =>
    request.method === 'PATCH' && ++patches === 3 ? new Promise(() => undefined) : undefined
  await choose(fileOf(4000, 'a'))
  await waitFor(() => expect(patches).toBe(3))
  await userEvent.click(await button('Pause: a'))
  expect(row('a').getByText(/^Paused · \d+%/)).toBeTruthy()
  expect(row('a').getByRole('progressbar').getAttribute('value')).toMatch(/^[5-7]\d/)
  await hasNoViolation()
  await userEvent.click(await button('Resume: a'))
  await waitFor(() => row('a').getByText(/^Uploaded/))
  expect(server.methods().filter((method) => method === 'POST')).toHaveLength(1)
})

test('cancel takes it off the list and off the server', async () => {
  stallPatches()
  show()
  await choose(fileOf(4000, 'a'))
  await waitFor(() => expect(server.uploads.size).toBe(1))
  await userEvent.click(await button('Cancel: a'))
  expect(screen.queryByTitle('a')).toBeNull()
  await waitFor(() => expect(server.uploads.size).toBe(0))
})

test('a refusal is told in the words of the server, and can be tried again', async () => {
  server.rule = () => ({ status: 507, text: 'ERR_STORAGE_FULL: there is no room for these bytes' })
  show()
  await choose(fileOf(4000, 'a'))
  await screen.findByText(/The server has no room left\. There is no room for these bytes\./)
  await hasNoViolation()
  server.rule = () => undefined
  await userEvent.click(await button('Try again: a'))
  await screen.findByText(/^Uploaded/)
})

test('while a retry is waited for, it says so', async () => {
  server.rule = (request) => (request.method === 'POST' ? { status: 500 } : undefined)
  show()
  await choose(fileOf(4000, 'a'))
  await screen.findByText('The server failed. Trying again, 1 of 3 …')
  await hasNoViolation()
  await userEvent.click(await button('Cancel: a'))
})

test('the same file is not added twice while it is under way', async () => {
  stallPatches()
  show()
  await choose(fileOf(4000, 'a'))
  await choose(fileOf(4000, 'a'))
  expect(screen.getAllByTitle('a')).toHaveLength(1)
})

test('what was left unfinished is named, and goes on or is discarded', async () => {
  stallPatches()
  const { unmount } = show({ chunkSize: 1000 })
  await choose(fileOf(4000, 'a'), fileOf(5000, 'b'))
  await waitFor(() => expect(localStorage.length).toBe(2))
  unmount()
  server.rule = () => undefined

  show()
  await screen.findByText(/Unfinished from an earlier visit/)
  await hasNoViolation()
  await userEvent.click(await button('Discard: b'))
  await waitFor(() => expect(server.uploads.size).toBe(1))
  await choose(fileOf(4000, 'a'))
  await screen.findByText(/^Uploaded/)
  expect(screen.queryByText(/Unfinished/)).toBeNull()
  expect(server.methods().filter((method) => method === 'POST')).toHaveLength(2)
})

test('screen readers hear of changes, and not of every byte', async () => {
  show()
  const heard = new Set<string>()
  const status = screen.getByRole('status')
  expect(status.getAttribute('aria-live')).toBe('polite')
  new MutationObserver(() => heard.add(status.textContent ?? '')).observe(status, {
    childList: true,
    characterData: true,
    subtree: true,
  })
  await choose(fileOf(4000, 'a'))
  await waitFor(() => expect(status.textContent).toMatch(/^a: Uploaded/))
  expect(heard.size).toBeLessThan(8)
})

test('all can be done with the keyboard', async () => {
  server.rule = () => ({ status: 507, text: '' })
  show()
  const user = userEvent.setup()
  await user.tab()
  expect(document.activeElement).toBe(input())
  await choose(fileOf(10, 'a'))
  const retry = await button('Try again: a')
  server.rule = () => undefined
  input().focus()
  await user.tab()
  expect(document.activeElement).toBe(retry)
  await user.keyboard('{Enter}')
  await screen.findByText(/^Uploaded/)
})

test('texts can be replaced, and Korean is there', async () => {
  show({ language: 'ko', texts: { choose: '고르기' }, className: 'mine', theme: 'dark' })
  const zone = screen.getByText('고르기').closest('.tus-uploader')
  expect(zone?.className).toBe('tus-uploader mine')
  expect(zone?.getAttribute('data-theme')).toBe('dark')
  expect(zone?.getAttribute('lang')).toBe('ko')
  await userEvent.upload(input(/여기에 파일을/), fileOf(10, 'a'))
  await screen.findByText(/업로드 완료/)
})
