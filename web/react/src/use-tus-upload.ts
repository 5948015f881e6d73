/** One file in a React component, for interfaces of one's own. */

import { useEffect, useState, useSyncExternalStore } from 'react'
import { objectionTo } from './core/acceptance.ts'
import type { UploadFailure } from './core/failures.ts'
import { IDLE, isRunning, Transfer, type TransferOptions, type UploadState } from './transfer.ts'

/** Options of `useTusUpload`; changes hold from the next `start` on, those of callbacks at once. */
export interface TusUploadOptions extends TransferOptions {
  /** As for `<input accept>`: `.h5,.nc,image/*`. */
  readonly accept?: string | undefined
  /** Bytes; null or nothing: whatever the server takes. */
  readonly maxSize?: number | null | undefined
  readonly onProgress?: ((state: UploadState) => void) | undefined
  readonly onComplete?: ((state: UploadState) => void) | undefined
  readonly onError?: ((error: UploadFailure, state: UploadState) => void) | undefined
}

/** What can be done with the upload; the functions stay the same from one rendering to the next. */
export interface TusUploadActions {
  /** Begins with a file; one that is under way is paused. Without a file, goes on as `resume`. */
  readonly start: (file?: File) => void
  readonly pause: () => void
  /** After a pause or an error. */
  readonly resume: () => void
  /** Gives up; the server removes what it has. Resolves when that is done or has failed. */
  readonly cancel: () => Promise<void>
  /** Back to `idle`, to upload another; what the server has stays there. */
  readonly reset: () => void
}

/** The state of the upload, and what can be done with it. */
export interface TusUpload extends UploadState, TusUploadActions {
  readonly file: File | null
}

/** Uploads one file at a time. When the component goes, the upload is paused, not cancelled. */
export function useTusUpload(options: TusUploadOptions): TusUpload {
  const [single] = useState(() => new SingleUpload(options))
  const state = useSyncExternalStore(
    single.subscribe,
    () => single.state,
    () => single.state,
  )
  useEffect(() => single.configure(options))
  useEffect(() => () => single.actions.pause(), [single])
  return { ...state, ...single.actions, file: single.file }
}

class SingleUpload {
  state: UploadState = IDLE
  private options: TusUploadOptions
  private transfer: Transfer | null = null
  private listener: () => void = () => undefined

  constructor(options: TusUploadOptions) {
    this.options = options
  }

  get file(): File | null {
    return this.transfer?.file ?? null
  }

  readonly actions: TusUploadActions = {
    start: (file) => this.start(file),
    pause: () => this.transfer?.pause(),
    resume: () => this.transfer?.start(),
    cancel: () => this.cancel(),
    reset: () => this.reset(),
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listener = listener
    return () => {
      this.listener = () => undefined
    }
  }

  configure(options: TusUploadOptions): void {
    this.options = options
  }

  private start(file: File | undefined): void {
    if (file === undefined) {
      this.transfer?.start()
      return
    }
    this.reset()
    const { accept = '', maxSize = null } = this.options
    const transfer: Transfer = new Transfer(file, this.options, (state) => {
      if (this.transfer === transfer) this.heard(state)
    })
    this.transfer = transfer
    const objection = objectionTo(file, accept, maxSize)
    if (objection === null) transfer.start()
    else transfer.refuse(objection)
  }

  private async cancel(): Promise<void> {
    const transfer = this.transfer
    this.reset()
    await transfer?.cancel()
  }

  private reset(): void {
    const transfer = this.transfer
    this.transfer = null
    transfer?.pause()
    this.set(IDLE)
  }

  private heard(state: UploadState): void {
    const before = this.state.status
    this.set(state)
    if (isRunning(state.status)) this.options.onProgress?.(state)
    if (before === state.status) return
    if (state.status === 'completed') this.options.onComplete?.(state)
    if (state.status === 'error' && state.error) this.options.onError?.(state.error, state)
  }

  private set(state: UploadState): void {
    this.state = state
    this.listener()
  }
}
