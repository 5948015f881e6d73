/** Resumable uploads in React, on tus-js-client. */

export type { Objection } from './core/acceptance.ts'
export type { FailureKind, UploadFailure } from './core/failures.ts'
export { type Formats, formatsFor } from './core/format.ts'
export { FileUploader, type FileUploaderProps } from './file-uploader.tsx'
export { english, failureText, fill, korean, type Texts, textsFor } from './texts.ts'
export type { TransferOptions, UploadState, UploadStatus } from './transfer.ts'
export type { TokenProvider } from './transport.ts'
export { type QueueOptions, type UploadItem, UploadQueue } from './upload-queue.ts'
export {
  type TusUpload,
  type TusUploadActions,
  type TusUploadOptions,
  useTusUpload,
} from './use-tus-upload.ts'
export { type UploadQueueHandle, useUploadQueue } from './use-upload-queue.ts'
