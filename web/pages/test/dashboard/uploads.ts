import { type Upload, type UploadJson, uploadOf } from '../../src/dashboard/core/upload.ts'

const FIRST = Date.UTC(2026, 10, 26, 12)

/** An upload that has just begun, except for what is said; created so many seconds after noon. */
export function jsonOf(id: string, changes: Partial<UploadJson> = {}, seconds = 0): UploadJson {
  const moment = new Date(FIRST + seconds * 1000).toISOString()
  return {
    id,
    url: `/files/${id}`,
    filename: `${id}.h5`,
    length: 1000,
    offset: 0,
    percent: 0,
    state: 'uploading',
    owner: null,
    created: moment,
    modified: moment,
    expires: null,
    destination: null,
    place: null,
    digests: {},
    scan: null,
    refusal: null,
    finish: null,
    rate: null,
    concat: null,
    metadata: { filename: `${id}.h5` },
    ...changes,
  }
}

export function upload(id: string, changes: Partial<UploadJson> = {}, seconds = 0): Upload {
  return uploadOf(jsonOf(id, changes, seconds))
}
