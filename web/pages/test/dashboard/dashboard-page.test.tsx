import { render, screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import axe from 'axe-core'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { DashboardPage } from '../../src/dashboard/dashboard-page.tsx'
import './dialogs.ts'
import { refusal, StatusServer } from './status-server.ts'
import { jsonOf } from './uploads.ts'

let server: StatusServer

beforeEach(async () => {
  server = await new StatusServer().start()
})

afterEach(() => server.stop())

function show(language = 'en') {
  const facts = {
    uploads: `${server.root}files/`,
    api: `${server.root}api/`,
    maxSize: null,
    accept: '',
    acceptsToken: server.token !== '',
    hasDestinations: false,
  }
  return render(<DashboardPage facts={facts} language={language} />)
}

/** The text of the row of this upload. */
const row = async (name: string) => {
  const found = (await screen.findByTitle(name)).closest('tr')
  if (found === null) throw new Error(`${name} is in no row`)
  return found
}
const rowSays = (name: string, text: RegExp) =>
  waitFor(async () => expect((await row(name)).textContent).toMatch(text))
const names = () =>
  screen.queryAllByRole('rowheader').map((cell) => within(cell).getByRole('button').textContent)
const tile = (title: string) => screen.getByText(title).closest('.tile')?.textContent
const button = (name: string | RegExp) => screen.findByRole('button', { name })

/** Contrast needs a real browser; the tests there look at it. */
async function hasNoViolation(): Promise<void> {
  const rules = { 'color-contrast': { enabled: false }, region: { enabled: false } }
  const { violations } = await axe.run(document.body, { rules })
  expect(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)])).toEqual([])
}

test('without uploads it says so', async () => {
  show()
  await screen.findByText('There are no uploads yet.')
  await screen.findByText('Live')
  expect(screen.queryByRole('table')).toBeNull()
  await hasNoViolation()
})

test('what is active and what has ended is in one table', async () => {
  server.put(
    jsonOf('a', { percent: 40, offset: 400, rate: 100, destination: 'jobs/42' }, 3),
    jsonOf('b', { state: 'finished', percent: 100, offset: 1000, place: 'jobs/1/b.h5' }, 2),
    jsonOf('c', { state: 'refused', percent: 100, refusal: { code: 'E', message: 'bad' } }, 1),
    jsonOf('d', { filename: null, length: null, percent: null, rate: 0, concat: 'partial' }, 0),
  )
  show()
  await waitFor(() => expect(names()).toEqual(['a.h5', 'b.h5', 'c.h5', 'No name']))
  const texts = (await screen.findAllByRole('row')).map((one) => one.textContent ?? '')
  expect(texts[1]).toMatch(/^a.h5jobs\/421,000.B40%Uploading100.B\/sTime left6.sec/)
  expect(texts[2]).toMatch(/^b.h5jobs\/1\/b.h51,000.B100%Finished/)
  expect(texts[3]).toMatch(/^c.h5bad.*Refused/)
  expect(texts[4]).toMatch(/^No namePart of another upload0.BIdle0.B\/s/)
  const bars = screen.getAllByRole<HTMLProgressElement>('progressbar')
  expect(bars.map((bar) => bar.getAttribute('value'))).toEqual(['40', '100', '100', '0'])
  expect(screen.getByRole('progressbar', { name: 'Progress of a.h5' })).toBe(bars[0])
  await hasNoViolation()
})

test('it goes on by itself: progress, the end, new uploads and removals', async () => {
  server.put(jsonOf('a', {}, 1))
  show()
  await screen.findByText('Live')
  server.put(jsonOf('a', { percent: 70, offset: 700 }, 1))
  await rowSays('a.h5', /70%/)
  server.put(jsonOf('b', {}, 2))
  await waitFor(() => expect(names()).toEqual(['b.h5', 'a.h5']))
  server.put(jsonOf('a', { state: 'finishing', finish: { step: 'scan', done: 1, total: 4 } }, 1))
  await rowSays('a.h5', /25%Scanning for viruses/)
  server.put(jsonOf('a', { state: 'finished', percent: 100 }, 1))
  await rowSays('a.h5', /100%Finished/)
  server.remove('b')
  await waitFor(() => expect(names()).toEqual(['a.h5']))
})

test('screen readers hear of other states, and of no bytes', async () => {
  server.put(jsonOf('a'), jsonOf('b'), jsonOf('c'), jsonOf('d'), jsonOf('e'))
  const { container } = show()
  await waitFor(() => expect(names()).toHaveLength(5))
  const status = container.querySelector('[aria-live=polite]')
  server.put(jsonOf('a', { percent: 50 }))
  await rowSays('a.h5', /50%/)
  expect(status?.textContent).toBe('')
  server.put(jsonOf('a', { state: 'finished', percent: 100 }))
  await waitFor(() => expect(status?.textContent).toBe('a.h5: Finished'))
  server.put(...['b', 'c', 'd', 'e'].map((id) => jsonOf(id, { state: 'refused' })))
  await waitFor(() => expect(status?.textContent).toBe('4 uploads have changed their state'))
})

test('figures, room and quota', async () => {
  server.quota = 4000
  const today = new Date().toISOString()
  server.put(
    jsonOf('a', { rate: 1024 }),
    jsonOf('b', { rate: 0 }),
    jsonOf('c', { state: 'finishing' }),
    jsonOf('d', { state: 'finished', modified: today }),
    jsonOf('e', { state: 'refused', modified: today, length: 0 }),
  )
  show()
  await waitFor(() => expect(tile('Active now')).toBe('Active now3 1 idle · 1 being checked'))
  expect(tile('Finished today')).toBe('Finished today1 1 refused')
  await waitFor(() => expect(tile('Stored')).toMatch(/^Stored3.9.KiB of 3.9.KiB$/))
  expect(tile('Room left')).toMatch(/^Room left25.GiB of 100.GiB$/)
  const meters = screen.getAllByRole('meter').map((meter) => meter.getAttribute('aria-valuetext'))
  expect(meters).toEqual(['100%', '75%'])
  await screen.findByRole('img', { name: /1.KiB\/s now, 1.KiB\/s at most/ })
})

test('uploads in no file system have no room to show', async () => {
  server.hasDisk = false
  server.put(jsonOf('a', { length: 4000 }))
  show()
  await waitFor(() => expect(tile('Stored')).toMatch(/^Stored3.9.KiB/))
  expect(tile('Room left')).toMatch(/^Room left–\s*$/)
})

test('filters and sorting show others, also those that only the server knows', async () => {
  server.put(...['a', 'b', 'c'].map((id, index) => jsonOf(id, { state: 'finished' }, index)))
  server.put(jsonOf('d', { filename: 'sample.nc', length: 5 }, 9))
  show()
  await waitFor(() => expect(names()).toEqual(['sample.nc', 'c.h5', 'b.h5', 'a.h5']))
  await userEvent.click(screen.getByRole('radio', { name: 'Ended' }))
  expect(names()).toEqual(['c.h5', 'b.h5', 'a.h5'])
  await userEvent.click(screen.getByRole('radio', { name: 'All' }))
  await userEvent.click(await button('File'))
  await waitFor(() => expect(names()[0]).toBe('a.h5'))
  expect(screen.getByRole('columnheader', { name: 'File' }).ariaSort ?? '').toBe('ascending')
  await userEvent.click(await button('Size'))
  expect(names().at(-1)).toBe('sample.nc')
  await userEvent.click(await button('Size'))
  expect(names()[0]).toBe('sample.nc')
  await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Sort by' }), '-name')
  expect(names()).toEqual(['sample.nc', 'c.h5', 'b.h5', 'a.h5'])
  await userEvent.type(screen.getByRole('searchbox', { name: 'File name' }), 'SAMPLE')
  expect(names()).toEqual(['sample.nc'])
  await waitFor(() => expect(server.log.at(-1)).toMatch(/name=SAMPLE/))
  // One request for all of what was typed.
  expect(server.log.filter((line) => line.includes('name=S'))).toHaveLength(1)
  await userEvent.type(screen.getByRole('searchbox', { name: 'File name' }), 'x')
  await screen.findByText('No upload is like this.')
  await userEvent.click(await button('Show all'))
  await waitFor(() => expect(names()).toHaveLength(4))
})

test('admins see owners and filter by them, others do not', async () => {
  server.user = 'root'
  server.put(jsonOf('a', { owner: 'kim' }, 1), jsonOf('b', { owner: 'lee' }))
  const { unmount } = show()
  await screen.findByRole('columnheader', { name: 'Owner' })
  expect((await row('a.h5')).textContent).toMatch(/^a.h5kim/)
  await userEvent.type(screen.getByRole('searchbox', { name: 'Owner' }), 'lee')
  await waitFor(() => expect(names()).toEqual(['b.h5']))
  await waitFor(() => expect(server.log.at(-1)).toMatch(/owner=lee/))
  unmount()
  server.user = null
  show()
  await row('a.h5')
  expect(screen.queryByRole('columnheader', { name: 'Owner' })).toBeNull()
})

test('thousands of uploads are shown a hundred at a time', async () => {
  const many = Array.from({ length: 1500 }, (_, index) => jsonOf(`u${index}`, {}, index))
  const old = Array.from({ length: 300 }, (_, index) =>
    jsonOf(`e${index}`, { state: 'finished' }, -1),
  )
  server.put(...many, ...old)
  show()
  await screen.findByText('100 of 1,800')
  expect(names()).toHaveLength(100)
  await userEvent.click(await button('Show more'))
  await screen.findByText('200 of 1,800')
  expect(names().slice(0, 2)).toEqual(['u1499.h5', 'u1498.h5'])
  expect(names().at(-1)).toBe('u1300.h5')
})

test('more than the stream told is fetched from the server', async () => {
  const old = Array.from({ length: 250 }, (_, index) =>
    jsonOf(`e${index}`, { state: 'finished' }, index),
  )
  server.put(...old)
  // So many that the count of today needs no second page.
  show()
  await screen.findByText('100 of 250')
  await userEvent.click(await button('Show more'))
  await screen.findByText('200 of 250')
  await waitFor(() =>
    expect(server.log).toContain('GET /api/uploads?order=-created&limit=100&skip=100'),
  )
  await userEvent.click(await button('Show more'))
  await screen.findByText('250 of 250')
  expect(screen.queryByRole('button', { name: 'Show more' })).toBeNull()
  expect(names().at(-1)).toBe('e0.h5')
})

test('a list that cannot be loaded is explained, and can be loaded again', async () => {
  server.put(jsonOf('a', { state: 'finished' }))
  server.rule = (_, url) =>
    url.startsWith('/api/uploads') ? refusal(503, 'the store does not answer') : undefined
  show()
  expect((await screen.findByRole('alert')).textContent).toMatch(
    /^The list could not be loaded. the store does not answer/,
  )
  await hasNoViolation()
  server.rule = () => undefined
  await userEvent.click(await button('Try again'))
  await row('a.h5')
  expect(screen.queryByRole('alert')).toBeNull()
})

test('a lost connection is shown, and then everything is asked for again', async () => {
  server.put(jsonOf('a'), jsonOf('b'), jsonOf('c', { state: 'finished' }))
  show()
  await screen.findByText('Live')
  await waitFor(() => expect(names()).toHaveLength(3))
  server.rule = () => refusal(502, '')
  server.cut()
  await screen.findByText(/Connection lost. Trying again in/)
  await hasNoViolation()
  // What happens meanwhile is told by nobody.
  server.uploads.delete('a')
  server.uploads.delete('c')
  server.put(jsonOf('b', { state: 'finished' }), jsonOf('d'))
  // It tries by itself, too, and has no button meanwhile.
  const now = await screen.findByRole('button', { name: 'Try now' }, { timeout: 10_000 })
  server.rule = () => undefined
  await userEvent.click(now)
  await screen.findByText('Live')
  await waitFor(() => expect(names().sort()).toEqual(['b.h5', 'd.h5']))
  expect((await row('b.h5')).textContent).toMatch(/Finished/)
})

test('the details tell everything', async () => {
  server.put(
    jsonOf('a', {
      state: 'finished',
      percent: 100,
      offset: 1000,
      owner: 'kim',
      destination: 'jobs/42',
      place: 'kim/jobs/42/a.h5',
      digests: { sha256: 'abc123' },
      scan: 'clean',
      concat: 'final',
      expires: '2099-01-01T00:00:00Z',
      metadata: { filename: 'a.h5', note: '' },
    }),
  )
  show()
  await userEvent.click(await button('a.h5'))
  const dialog = await screen.findByRole('dialog', { name: 'a.h5' })
  const facts = within(dialog)
    .getAllByRole('term')
    .map((term) => `${term.textContent}: ${term.nextSibling?.textContent}`)
  expect(facts).toEqual([
    'Owner: kim',
    'Place: kim/jobs/42/a.h5',
    'Wanted folder: jobs/42',
    'Virus scan: Clean',
    'Digest (sha256): abc123',
    'Kind: Joined from parts',
    expect.stringMatching(/^Started: Nov 2\d, 2026/),
    expect.stringMatching(/^Last change: Nov 2\d, 2026/),
    expect.stringMatching(/^Will be removed: .*20(98|99).*\(in /),
    'Id: a',
    'filename: a.h5',
    'note: –',
  ])
  expect(within(dialog).getByLabelText<HTMLInputElement>('Upload URL').value).toBe(
    `${server.root}files/a`,
  )
  await hasNoViolation()
  await userEvent.keyboard('{Escape}')
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
})

test('the details go on as well, to the end of the upload', async () => {
  server.put(jsonOf('a', { rate: 2048, percent: 10, offset: 100 }))
  show()
  await userEvent.click(await button('a.h5'))
  const dialog = within(await screen.findByRole('dialog'))
  await dialog.findByText(/^100.B of 1,000.B · Time left: 1.sec$/)
  await dialog.findByRole('img', { name: /2.KiB\/s now/ })
  server.put(jsonOf('a', { state: 'refused', refusal: { code: 'ERR_VIRUS', message: 'a virus' } }))
  await dialog.findByText('ERR_VIRUS')
  expect(dialog.queryByRole('img')).toBeNull()
  server.remove('a')
  await dialog.findByText('This upload does not exist any more.')
  await userEvent.click(dialog.getByRole('button', { name: 'Close' }))
  expect(screen.queryByRole('dialog')).toBeNull()
})

test('the upload URL can be copied, with and without a clipboard', async () => {
  const user = userEvent.setup()
  server.put(jsonOf('a'))
  show()
  await user.click(await button('a.h5'))
  await user.click(await button('Copy'))
  await button('Copied')
  expect(await navigator.clipboard.readText()).toBe(`${server.root}files/a`)
  await user.keyboard('{Escape}')

  vi.spyOn(navigator.clipboard, 'writeText').mockRejectedValue(new DOMException('not here'))
  document.execCommand = vi.fn(() => true)
  await user.click(await button('a.h5'))
  await user.click(await button('Copy'))
  await button('Copied')
  expect(document.execCommand).toHaveBeenCalledWith('copy')
})

test('an upload is terminated only when that is confirmed', async () => {
  server.put(jsonOf('a'))
  show()
  await userEvent.click(await button('Terminate a.h5'))
  const question = await screen.findByRole('alertdialog', { name: 'Terminate this upload?' })
  expect(question.textContent).toMatch(/What has arrived of “a.h5” is deleted/)
  await hasNoViolation()
  await userEvent.click(await button('Keep it'))
  expect(server.uploads.size).toBe(1)
  await userEvent.click(await button('Terminate a.h5'))
  await userEvent.click(await button('Terminate'))
  await waitFor(() => expect(names()).toEqual([]))
  expect(server.log).toContain('DELETE /files/a')
  expect(screen.queryByRole('alertdialog')).toBeNull()
})

test.each([
  [403, 'You may not do this. The token is not for this.'],
  [423, 'The upload is busy at the moment. Try again. The token is not for this.'],
  [500, 'The server did not do it. The token is not for this.'],
])('a refusal with %d is told', async (status, text) => {
  server.put(jsonOf('a'))
  show()
  await userEvent.click(await button('Terminate a.h5'))
  server.rule = (method) =>
    method === 'DELETE' ? { status, body: 'ERR_NO: the token is not for this\n' } : undefined
  await userEvent.click(await button('Terminate'))
  const question = within(screen.getByRole('alertdialog'))
  await waitFor(() => expect(question.getByRole('alert').textContent).toBe(text))
  expect(names()).toEqual(['a.h5'])
  server.rule = () => undefined
  await userEvent.click(await button('Terminate'))
  await waitFor(() => expect(names()).toEqual([]))
})

test('who cannot reach the server is told that', async () => {
  server.put(jsonOf('a'))
  show()
  await userEvent.click(await button('Terminate a.h5'))
  const answered = vi.spyOn(globalThis, 'fetch').mockRejectedValue(new TypeError('no network'))
  await userEvent.click(await button('Terminate'))
  await screen.findByText('The server cannot be reached.')
  answered.mockRestore()
})

test('what does not exist any more is gone without a fuss', async () => {
  server.put(jsonOf('a'))
  show()
  await userEvent.click(await button('Terminate a.h5'))
  server.uploads.clear()
  await userEvent.click(await button('Terminate'))
  await waitFor(() => expect(names()).toEqual([]))
})

test.each([
  [null, '“a.h5” is deleted from the server. This cannot be undone.'],
  ['jobs/a.h5', 'The server deletes its record of “a.h5”. The file itself stays at jobs/a.h5.'],
])('an upload that has ended at %s is deleted with other words', async (place, text) => {
  server.put(jsonOf('a', { state: 'finished', place }))
  show()
  await userEvent.click(await button('a.h5'))
  await userEvent.click(await button('Delete'))
  const question = within(await screen.findByRole('alertdialog', { name: 'Delete this upload?' }))
  expect(question.getByText(text)).toBeTruthy()
  await userEvent.click(question.getByRole('button', { name: 'Delete' }))
  await waitFor(() => expect(names()).toEqual([]))
})

test('where a token is needed, nothing is shown before it is given', async () => {
  server.token = 'right'
  server.user = 'kim'
  server.put(jsonOf('a'))
  show()
  await screen.findByText(/Paste the token that your portal gave you/)
  expect(screen.queryByRole('table')).toBeNull()
  expect(screen.queryByRole('searchbox')).toBeNull()
  await hasNoViolation()
  await userEvent.type(screen.getByLabelText('Token'), 'wrong{Enter}')
  await screen.findByText(/The token is not valid/)
  await userEvent.type(screen.getByLabelText('Token'), 'right{Enter}')
  await row('a.h5')
  await userEvent.click(await button('Sign out'))
  expect(screen.queryByRole('table')).toBeNull()
  await waitFor(() => expect(server.watchers).toBe(0))
})

test('a token that runs out while one watches is asked for again', async () => {
  server.token = 'first'
  sessionStorage.setItem('tusserver.token', 'first')
  server.put(jsonOf('a'))
  show()
  await row('a.h5')
  server.token = 'second'
  server.cut()
  await screen.findByText(/The token is not valid/, {}, { timeout: 10_000 })
  expect(screen.queryByRole('table')).toBeNull()
})

test('a refusal that comes late does not take back what was signed in since', async () => {
  server.token = 'right'
  server.late = '/api/storage'
  server.put(jsonOf('a'))
  show()
  await screen.findByText(/Paste the token that your portal gave you/)
  await waitFor(() => expect(server.heldBack).toBe(1))
  await userEvent.type(screen.getByLabelText('Token'), 'right{Enter}')
  await row('a.h5')
  server.answerLate()
  await expect(screen.findByText(/Paste the token/)).rejects.toThrow()
  await row('a.h5')
})

test('all can be done with the keyboard', async () => {
  server.put(jsonOf('a'))
  show()
  const user = userEvent.setup()
  const name = await button('a.h5')
  name.focus()
  await user.keyboard('{Enter}')
  await screen.findByRole('dialog')
  await user.keyboard('{Escape}')
  await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull())
  name.focus()
  await user.tab()
  expect(document.activeElement).toBe(await button('Terminate a.h5'))
  await user.keyboard(' ')
  const question = await screen.findByRole('alertdialog')
  // What does no harm comes first.
  expect(document.activeElement).toBe(within(question).getByRole('button', { name: 'Keep it' }))
})

test('Korean is there', async () => {
  server.put(jsonOf('a', { state: 'finished' }))
  show('ko-KR')
  await screen.findByRole('heading', { name: '대시보드' })
  expect((await row('a.h5')).textContent).toMatch(/완료/)
  expect(screen.getByRole('link', { name: '업로드' }).getAttribute('href')).toBe('./')
})
