/**
 * Where the URLs of unfinished uploads are kept between visits: local storage, in the form of
 * tus-js-client, or memory where the browser allows none.
 */

import type { PreviousUpload, UrlStorage } from 'tus-js-client'

const PREFIX = 'tus::'
// No server keeps unfinished uploads for so long.
const FORGET_AFTER = 30 * 86_400_000

type Entry = Omit<PreviousUpload, 'urlStorageKey'>

/** Keeps entries by fingerprint. Reading an entry that is damaged or old removes it. */
export class ResumeStorage implements UrlStorage {
  private readonly store: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> & {
    keys(): string[]
  }

  constructor(storage: Storage | null = browserStorage()) {
    this.store = storage === null ? new Memory() : new Persistent(storage)
  }

  async findAllUploads(): Promise<PreviousUpload[]> {
    return this.entries(PREFIX)
  }

  async findUploadsByFingerprint(fingerprint: string): Promise<PreviousUpload[]> {
    return this.entries(`${PREFIX}${fingerprint}::`)
  }

  async removeUpload(urlStorageKey: string): Promise<void> {
    this.store.removeItem(urlStorageKey)
  }

  /** Returns the key by which the entry can be removed. */
  async addUpload(fingerprint: string, upload: Entry): Promise<string> {
    const key = `${PREFIX}${fingerprint}::${Math.round(Math.random() * 1e12)}`
    this.store.setItem(key, JSON.stringify(upload))
    return key
  }

  private entries(prefix: string): PreviousUpload[] {
    const found: PreviousUpload[] = []
    for (const key of this.store.keys().filter((name) => name.startsWith(prefix))) {
      const entry = parsed(this.store.getItem(key))
      if (entry === null) this.store.removeItem(key)
      else found.push({ ...entry, urlStorageKey: key })
    }
    return found.sort((a, b) => Date.parse(b.creationTime) - Date.parse(a.creationTime))
  }
}

function parsed(text: string | null): Entry | null {
  try {
    const entry = JSON.parse(text ?? '') as Entry
    const age = Date.now() - Date.parse(entry.creationTime)
    return age < FORGET_AFTER ? entry : null
  } catch {
    return null
  }
}

class Persistent {
  private readonly storage: Storage

  constructor(storage: Storage) {
    this.storage = storage
  }

  keys(): string[] {
    return Array.from({ length: this.storage.length }, (_, index) => this.storage.key(index) ?? '')
  }

  getItem(key: string): string | null {
    return this.storage.getItem(key)
  }

  setItem(key: string, value: string): void {
    try {
      this.storage.setItem(key, value)
    } catch {
      // Full. The upload goes on, and only cannot be found again after a reload.
    }
  }

  removeItem(key: string): void {
    this.storage.removeItem(key)
  }
}

class Memory {
  private readonly items = new Map<string, string>()

  keys(): string[] {
    return [...this.items.keys()]
  }

  getItem(key: string): string | null {
    return this.items.get(key) ?? null
  }

  setItem(key: string, value: string): void {
    this.items.set(key, value)
  }

  removeItem(key: string): void {
    this.items.delete(key)
  }
}

function browserStorage(): Storage | null {
  try {
    // The mere access fails in a sandbox.
    return globalThis.localStorage ?? null
  } catch {
    return null
  }
}
