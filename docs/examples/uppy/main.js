import '@uppy/core/css/style.min.css'
import '@uppy/dashboard/css/style.min.css'
import Uppy from '@uppy/core'
import Dashboard from '@uppy/dashboard'
import Tus from '@uppy/tus'

// Where tusserver creates uploads. On another host, its setting cors-allow-origin must allow this page.
const endpoint = import.meta.env.VITE_TUS_ENDPOINT ?? '/files/'

const uppy = new Uppy()
  .use(Dashboard, { inline: true, target: '#uploader', width: '100%', theme: 'auto' })
  .use(Tus, {
    endpoint,
    // How many files go at the same time.
    limit: 3,
    // Else a file that has been uploaded is not sent again when it is chosen again.
    removeFingerprintOnSuccess: true,
    // Without this all that Uppy knows of a file goes along, as a relativePath that is "null".
    allowedMetaFields: ['filename', 'filetype'],
  })

// Uppy says only that the upload failed; the server says why, as `ERR_STORAGE_FULL: there is no room …`.
uppy.on('upload-error', (file, _error, response) => {
  const sentence = response?.body?.xhr.responseText.trim().replace(/^ERR_\w+: /, '')
  if (sentence) uppy.info(`${file.name}: ${sentence}`, 'error', 30_000)
})
