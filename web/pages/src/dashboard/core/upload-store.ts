/**
 * All uploads that are known, from the live stream and from lists, which cross each other on their
 * way. Every piece of news has a place in one count: a list is as old as the moment at which it was
 * asked for, and never undoes what the stream has told since.
 */

import { isActive, type State, type Upload } from './upload.ts'

/** That an upload has come into another state. */
export interface Change {
  readonly upload: Upload
  readonly before: State
}

interface Entry {
  readonly upload: Upload
  readonly seen: number
}

// So many removals are remembered as lists may be late for.
const MOST_REMOVALS = 5_000

export class UploadStore {
  private readonly entries = new Map<string, Entry>()
  private readonly removals = new Map<string, number>()
  private count = 0
  private streamBegan = 0

  get(id: string): Upload | null {
    return this.entries.get(id)?.upload ?? null
  }

  all(): Upload[] {
    return Array.from(this.entries.values(), (entry) => entry.upload)
  }

  /** A stream is asked for, which will tell every active upload and then that it is ready. */
  beginStream(): void {
    this.count += 1
    this.streamBegan = this.count
  }

  /** All that is active was told: what was active before is not any more, or does not exist. */
  endGreeting(): void {
    this.forget((entry) => isActive(entry.upload), this.streamBegan)
  }

  /** All lists that were asked for at this mark have come: what nobody has told since is no more. */
  sweep(mark: number): void {
    this.forget(() => true, Math.min(mark, this.streamBegan))
  }

  /** News of the stream; tells whether its state is another one. */
  tell(upload: Upload): Change | null {
    const before = this.get(upload.id)?.state
    this.count += 1
    this.entries.set(upload.id, { upload, seen: this.count })
    return before === undefined || before === upload.state ? null : { upload, before }
  }

  remove(id: string): void {
    this.count += 1
    this.entries.delete(id)
    this.removals.delete(id)
    this.removals.set(id, this.count)
    if (this.removals.size <= MOST_REMOVALS) return
    for (const oldest of this.removals.keys()) {
      this.removals.delete(oldest)
      return
    }
  }

  /** To be taken when a list is asked for, and given to `merge` with its answer. */
  mark(): number {
    return this.count
  }

  merge(uploads: readonly Upload[], mark: number): void {
    for (const upload of uploads) {
      const seen = this.entries.get(upload.id)?.seen ?? -1
      const removed = this.removals.get(upload.id) ?? -1
      if (seen <= mark && removed <= mark) this.entries.set(upload.id, { upload, seen: mark })
    }
  }

  private forget(isMeant: (entry: Entry) => boolean, before: number): void {
    for (const [id, entry] of this.entries) {
      if (entry.seen < before && isMeant(entry)) this.entries.delete(id)
    }
  }
}
