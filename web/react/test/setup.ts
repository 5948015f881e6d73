import { cleanup } from '@testing-library/react'
import { afterEach } from 'vitest'

// jsdom does not tell how much of a body has been sent. The tests take the moment of sending for it.
const { send } = XMLHttpRequest.prototype
XMLHttpRequest.prototype.send = function sendAndTell(body) {
  send.call(this, body ?? null)
  if (!(body instanceof Blob)) return
  const tell = (loaded: number) =>
    this.upload.dispatchEvent(
      new ProgressEvent('progress', { lengthComputable: true, loaded, total: body.size }),
    )
  setTimeout(() => {
    if (this.readyState !== XMLHttpRequest.OPENED) return
    tell(Math.floor(body.size / 2))
    tell(body.size)
  })
}

afterEach(() => {
  cleanup()
  localStorage.clear()
  sessionStorage.clear()
})
