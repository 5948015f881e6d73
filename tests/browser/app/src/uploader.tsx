import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { FileUploader, type TokenProvider, type UploadItem } from 'tusserver-react'
import 'tusserver-react/styles.css'

let current = ''

const token: TokenProvider = async (refused) => {
  if (current === '' || refused === current) current = await (await fetch('/token')).text()
  return current
}

function done(item: UploadItem) {
  document.title = `${item.file.name} is there`
}

// @ts-expect-error: without an endpoint it does not type-check
export const unfinished = <FileUploader maxSize={1000} />

// @ts-expect-error: sizes are numbers
export const mistaken = <FileUploader endpoint="/files/" maxSize="10 MB" />

const root = document.getElementById('root')
if (root === null) throw new Error('no #root')
createRoot(root).render(
  <StrictMode>
    <FileUploader
      endpoint="/files/"
      token={token}
      maxSize={20_000_000}
      className="mine"
      texts={{ choose: 'take one' }}
      onComplete={done}
    />
  </StrictMode>,
)
