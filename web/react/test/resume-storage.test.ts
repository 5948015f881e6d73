import { expect, test, vi } from 'vitest'
import { ResumeStorage } from '../src/resume-storage.ts'

const entry = (daysAgo = 0) => ({
  size: 1,
  metadata: {},
  creationTime: new Date(Date.now() - daysAgo * 86_400_000).toString(),
  uploadUrl: `/files/${daysAgo}`,
  parallelUploadUrls: null,
})

test.each([
  ['local storage', () => localStorage],
  ['memory', () => null],
])('in %s entries are found by their fingerprint, newest first', async (_, storage) => {
  const kept = new ResumeStorage(storage())
  await kept.addUpload('a', entry(2))
  await kept.addUpload('a', entry(1))
  await kept.addUpload('ab', entry(3))
  const found = await kept.findUploadsByFingerprint('a')
  expect(found.map((each) => each.uploadUrl)).toEqual(['/files/1', '/files/2'])
  await kept.removeUpload(found[0]?.urlStorageKey ?? '')
  expect((await kept.findAllUploads()).map((each) => each.uploadUrl)).toEqual([
    '/files/2',
    '/files/3',
  ])
})

test('what is old or damaged is removed, and what is not ours is left', async () => {
  const kept = new ResumeStorage(localStorage)
  await kept.addUpload('a', entry(31))
  localStorage.setItem('tus::a::1', '{')
  localStorage.setItem('theirs', '{')
  expect(await kept.findAllUploads()).toEqual([])
  expect(localStorage.length).toBe(1)
})

test('a full storage does not stop an upload', async () => {
  vi.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
    throw new DOMException('full', 'QuotaExceededError')
  })
  await expect(new ResumeStorage(localStorage).addUpload('a', entry())).resolves.toMatch(
    /^tus::a::/,
  )
  vi.restoreAllMocks()
})
