// Uploads one file with tus-js-client as the JSON on standard input says, and writes as JSON to standard
// output what came of it: the URL, whether it was aborted, and each request with the status of its answer; or
// with exit code 1 the error and those requests.
//
//   path     the file                       options  what tus-js-client is given, besides callbacks
//   source   "file", "stream" or "buffer"   storage  the file in which it keeps URLs, if any
//   resume   go on with a previous upload   abort    "progress" or "chunk": stop at the first one
//   terminate  "abort" (with the abort) or "end" (after the upload): delete it

'use strict'

const fs = require('node:fs')
const { PassThrough } = require('node:stream')
const tus = require('tus-js-client')

const task = JSON.parse(fs.readFileSync(0, 'utf8'))
const sources = {
  file: () => fs.createReadStream(task.path),
  // Without a path, so that the client has to keep in memory what it may have to send again.
  stream: () => fs.createReadStream(task.path).pipe(new PassThrough()),
  buffer: () => fs.readFileSync(task.path),
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

function run(requests) {
  return new Promise((resolve, reject) => {
    const stop = (kind) => async () => {
      if (task.abort !== kind) return
      // One of several parts may have sent a chunk before all have their URLs; only then they are kept.
      while (task.storage && (await upload.findPreviousUploads()).length === 0) await pause(1)
      upload.abort(task.terminate === 'abort').then(() => resolve({ url: upload.url, aborted: true }), reject)
    }
    const upload = new tus.Upload(sources[task.source || 'file'](), {
      ...task.options,
      ...(task.storage ? { urlStorage: new tus.FileUrlStorage(task.storage) } : {}),
      onAfterResponse: (request, response) => {
        requests.push([request.getMethod(), response.getStatus()])
      },
      onProgress: (sent) => sent > 0 && stop('progress')(),
      onChunkComplete: stop('chunk'),
      onError: reject,
      onSuccess: () => resolve({ url: upload.url, aborted: false }),
    })
    begin(upload).catch(reject)
  })
}

async function begin(upload) {
  if (task.resume) {
    const previous = await upload.findPreviousUploads()
    if (previous.length !== 1) throw new Error(`${previous.length} previous uploads`)
    upload.resumeFromPreviousUpload(previous[0])
  }
  upload.start()
}

const requests = []

async function main() {
  const result = await run(requests)
  if (task.terminate === 'end') await tus.Upload.terminate(result.url)
  process.stdout.write(JSON.stringify({ ...result, requests }))
}

main().catch((error) => {
  process.stdout.write(JSON.stringify({ error: String(error.message || error), requests }))
  process.stderr.write(`${error.stack || error}\n`)
  process.exitCode = 1
})
