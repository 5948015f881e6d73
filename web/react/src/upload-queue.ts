/** Several files on their way, a few at a time. Knows nothing of React. */

import { type Objection, objectionTo } from './core/acceptance.ts'
import { nextToStart } from './core/queue.ts'
import { isRunning, Transfer, type TransferOptions, type UploadState } from './transfer.ts'

/** Where files go, and which. */
export interface QueueOptions extends TransferOptions {
  /** As for `<input accept>`: `.h5,.nc,image/*`. */
  readonly accept?: string | undefined
  /** Bytes; null or nothing: whatever the server takes. */
  readonly maxSize?: number | null | undefined
  /** How many files go at the same time; 3 if nothing is said. */
  readonly concurrency?: number | undefined
  readonly onProgress?: ((item: UploadItem) => void) | undefined
  readonly onComplete?: ((item: UploadItem) => void) | undefined
  /** Also for files that are not taken at all. */
  readonly onError?: ((item: UploadItem) => void) | undefined
}

/** One file in the list. */
export interface UploadItem extends UploadState {
  readonly id: string
  readonly file: File
  readonly destination: string
}

interface Entry {
  readonly id: string
  readonly transfer: Transfer
  readonly destination: string
}

/** The list, to be subscribed to: a new `items` after every change. */
export class UploadQueue {
  private options: QueueOptions
  private entries: readonly Entry[] = []
  private current: readonly UploadItem[] = []
  private readonly listeners = new Set<() => void>()
  private count = 0

  constructor(options: QueueOptions) {
    this.options = options
  }

  get items(): readonly UploadItem[] {
    return this.current
  }

  /** Returns how to unsubscribe. */
  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Holds for files that are added from now on; limits and callbacks at once. */
  configure(options: QueueOptions): void {
    this.options = options
    this.pump()
  }

  /**
   * Adds files and begins with them as there is room. A file that is in the list and under way is
   * not added twice; if it was paused or has failed, it goes on. `objection`: it is only shown.
   */
  add(files: Iterable<File>, objection: Objection | null = null): void {
    for (const file of files) this.addOne(file, objection)
    this.changed()
    this.pump()
  }

  pause(id: string): void {
    this.find(id)?.transfer.pause()
    this.pump()
  }

  /** After a pause or an error; it waits for its turn. */
  resume(id: string): void {
    this.find(id)?.transfer.wait()
    this.pump()
  }

  /** Takes it off the list; what has not been completed is removed from the server, too. */
  async cancel(id: string): Promise<void> {
    const entry = this.find(id)
    if (entry === undefined) return
    this.entries = this.entries.filter((each) => each !== entry)
    const done = entry.transfer.cancel()
    this.changed()
    this.pump()
    await done
  }

  /** Takes all off the list that have come to a good end. */
  clearCompleted(): void {
    this.entries = this.entries.filter((each) => each.transfer.state.status !== 'completed')
    this.changed()
  }

  /** As when the page goes away; everything can be gone on with. */
  pauseAll(): void {
    for (const entry of this.entries) entry.transfer.pause()
  }

  private addOne(file: File, given: Objection | null): void {
    const { accept = '', maxSize = null } = this.options
    const id = `upload-${this.count++}`
    const options = this.options
    const transfer = new Transfer(file, options, (state) => this.heard(id, state))
    const twin = this.entries.find((each) => isSame(each.transfer, transfer))
    if (twin !== undefined) {
      this.goOn(twin)
      return
    }
    this.entries = [...this.entries, { id, transfer, destination: options.destination ?? '' }]
    const objection = given ?? objectionTo(file, accept, maxSize)
    if (objection === null) transfer.wait()
    else transfer.refuse(objection)
  }

  private goOn(entry: Entry): void {
    const { status } = entry.transfer.state
    if (status === 'paused' || status === 'error') entry.transfer.wait()
  }

  private find(id: string): Entry | undefined {
    return this.entries.find((entry) => entry.id === id)
  }

  private heard(id: string, state: UploadState): void {
    const before = this.current.find((item) => item.id === id)
    this.changed()
    const item = this.current.find((each) => each.id === id)
    if (item === undefined) return
    if (isRunning(state.status)) this.options.onProgress?.(item)
    if (before?.status === state.status) return
    if (state.status === 'completed') this.options.onComplete?.(item)
    if (state.status === 'error') this.options.onError?.(item)
    if (isRunning(before?.status ?? 'idle') && !isRunning(state.status)) this.pump()
  }

  private changed(): void {
    const known = new Map(this.current.map((item) => [item.id, item]))
    this.current = this.entries.map((entry) => itemOf(entry, known.get(entry.id)))
    for (const listener of this.listeners) listener()
  }

  private pump(): void {
    const queued = this.entries.map(({ id, transfer }) => ({
      id,
      isWaiting: transfer.state.status === 'queued',
      isRunning: isRunning(transfer.state.status),
    }))
    for (const id of nextToStart(queued, this.options.concurrency ?? 3)) {
      this.find(id)?.transfer.start()
    }
  }
}

// Unchanged ones stay the same object, so that React need not draw their rows again.
const states = new WeakMap<UploadItem, UploadState>()

function itemOf({ id, transfer, destination }: Entry, known: UploadItem | undefined): UploadItem {
  const { state } = transfer
  if (known !== undefined && states.get(known) === state) return known
  const item = { ...state, id, file: transfer.file, destination }
  states.set(item, state)
  return item
}

// A refused file may be tried again as a new one, and so may one that is already there.
function isSame(one: Transfer, other: Transfer): boolean {
  const isOver = one.state.status === 'completed' || one.state.error?.canRetry === false
  return one.fingerprint === other.fingerprint && !isOver
}
