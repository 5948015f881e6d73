import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { useTusUpload } from 'tusserver-react'

function Upload() {
  const upload = useTusUpload({ endpoint: '/files/', token: async () => (await fetch('/token')).text() })
  return (
    <>
      <input type="file" onChange={(event) => upload.start(event.target.files?.[0])} />
      <progress value={upload.progress} max={100} />
      <p role="status">{upload.status}</p>
      <button type="button" onClick={upload.pause}>
        Pause
      </button>
      <button type="button" onClick={upload.resume}>
        Resume
      </button>
    </>
  )
}

const root = document.getElementById('root')
if (root === null) throw new Error('no #root')
createRoot(root).render(
  <StrictMode>
    <Upload />
  </StrictMode>,
)
