/**
 * What the dashboard shows, as a value that changes: the live stream, the lists of what has ended,
 * and the figures over both. Nothing is asked for again and again; news make it ask.
 */

import { Api, type ApiOptions, type Disk, type Me, Refused, type Storage } from './api.ts'
import type { StreamEvent } from './core/event-stream.ts'
import { PAGE, Pages } from './core/pages.ts'
import { EVERYTHING, type Query } from './core/query.ts'
import { RateHistory, type Sample } from './core/rate-history.ts'
import { startOfDay, type Tally, tallyOf } from './core/tally.ts'
import { type Upload, uploadOf } from './core/upload.ts'
import { type Change, UploadStore } from './core/upload-store.ts'
import { type Connection, LiveStream } from './live-stream.ts'

/** One moment of it. */
export interface Snapshot {
  /** Milliseconds since 1970. */
  readonly now: number
  readonly connection: Connection
  readonly me: Me | null
  readonly disk: Disk | null
  readonly storage: Storage | null
  readonly query: Query
  readonly rows: readonly Upload[]
  readonly total: number
  readonly isLoading: boolean
  /** Why the list could not be loaded, in the words of the server; null: it could. */
  readonly failure: string | null
  readonly tally: Tally
  /** So many have ended today that there may be more. */
  readonly isTallyLow: boolean
  readonly rates: readonly Sample[]
  /** What has happened since the snapshot before. */
  readonly changes: readonly Change[]
}

const PAUSE = 250
const TICK = 1_000
const STORAGE_PAUSE = 3_000
const LARGEST_PAGE = 1_000
const DAY = 24 * 60 * 60_000

interface Failure {
  readonly message: string
  readonly limit: number
  readonly skip: number
}

export class Dashboard {
  private readonly api: Api
  private readonly onUnauthorized: () => void
  private readonly store = new UploadStore()
  private readonly history = new RateHistory()
  private readonly listeners = new Set<() => void>()
  private readonly timers = new Map<string, ReturnType<typeof setTimeout>>()
  private pages = new Pages(EVERYTHING)
  private stream: LiveStream | null = null
  private ticker: ReturnType<typeof setInterval> | undefined
  private connection: Connection = { kind: 'connecting' }
  private me: Me | null = null
  private disk: Disk | null = null
  private storage: Storage | null = null
  private loading: Pages | null = null
  private failure: Failure | null = null
  private isTallyLow = false
  private hasGreeted = false
  private changes: Change[] = []
  private current: Snapshot

  constructor(options: ApiOptions, onUnauthorized: () => void) {
    this.api = new Api(options)
    this.onUnauthorized = onUnauthorized
    this.current = this.look()
  }

  readonly snapshot = (): Snapshot => this.current

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  start(): void {
    this.stream = new LiveStream((signal) => this.api.events(signal), {
      onBegin: () => this.store.beginStream(),
      onEvents: (events) => this.receive(events),
      onConnection: (connection) => {
        this.connection = connection
        this.publish()
      },
      onUnauthorized: this.onUnauthorized,
    })
    this.stream.start()
    this.ticker = setInterval(() => this.tick(), TICK)
    void this.refresh()
  }

  stop(): void {
    this.stream?.stop()
    clearInterval(this.ticker)
    for (const timer of this.timers.values()) clearTimeout(timer)
    this.timers.clear()
  }

  find(id: string): Upload | null {
    return this.store.get(id)
  }

  ratesOf(id: string): readonly Sample[] {
    return this.history.of(id)
  }

  urlOf(id: string): string {
    return this.api.urlOf(id)
  }

  retryNow(): void {
    this.stream?.retryNow()
  }

  /** Shows other uploads; asks the server for them after so many milliseconds without another. */
  show(query: Query, pause = 0): void {
    this.pages = new Pages(query)
    this.loading = this.pages
    this.failure = null
    this.later('query', pause, () => void this.loadPage(PAGE, 0))
    this.publish()
  }

  showMore(): void {
    this.pages.limit += PAGE
    const skip = this.pages.next(this.store.all())
    if (skip !== null && this.loading === null) void this.loadPage(PAGE, skip)
    this.publish()
  }

  loadAgain(): void {
    if (this.failure !== null) void this.loadPage(this.failure.limit, this.failure.skip)
  }

  /** Raises Refused, and TypeError when the server cannot be reached. */
  async terminate(id: string): Promise<void> {
    await this.api.terminate(id)
    this.store.remove(id)
    this.loadStorageSoon()
    this.publish()
  }

  private receive(events: readonly StreamEvent[]): void {
    for (const { type, data } of events) this.take(type, data)
    this.later('publish', PAUSE, () => this.publish(), { isKept: true })
  }

  private take(type: string, data: string): void {
    if (type === 'upload') this.tell(uploadOf(JSON.parse(data)))
    else if (type === 'removed') this.forget(JSON.parse(data))
    else if (type === 'storage') this.disk = JSON.parse(data)
    else if (type === 'ready') this.endGreeting()
  }

  private tell(upload: Upload): void {
    const isNew = this.store.get(upload.id) === null
    const change = this.store.tell(upload)
    if (change !== null) this.changes.push(change)
    if (isNew || change !== null) this.loadStorageSoon()
  }

  private forget({ id }: { readonly id: string }): void {
    this.store.remove(id)
    this.loadStorageSoon()
  }

  private endGreeting(): void {
    this.store.endGreeting()
    // While nobody listened, more may have changed than a stream tells.
    if (this.hasGreeted) void this.refresh()
    this.hasGreeted = true
  }

  private tick(): void {
    const isKnown = this.connection.kind === 'live'
    this.history.note(Date.now(), this.store.all(), isKnown)
    this.publish()
  }

  private async refresh(): Promise<void> {
    const mark = this.store.mark()
    const limit = Math.min(this.pages.limit, LARGEST_PAGE)
    const loads = [this.loadMe(), this.loadStorage(), this.loadToday(), this.loadPage(limit, 0)]
    const done = await Promise.all(loads)
    if (done.every(Boolean)) this.store.sweep(mark)
    this.publish()
  }

  private loadMe(): Promise<boolean> {
    return this.attempt(async () => {
      this.me = await this.api.me()
    })
  }

  private loadStorage(): Promise<boolean> {
    return this.attempt(async () => {
      this.storage = await this.api.storage()
      this.disk = roomOf(this.storage)
    })
  }

  private loadStorageSoon(): void {
    const load = () => void this.loadStorage().then(() => this.publish())
    this.later('storage', STORAGE_PAUSE, load, { isKept: true })
  }

  /** For the count of today: all that have ended and are not older than a day. */
  private loadToday(): Promise<boolean> {
    return this.attempt(async () => {
      const oldest = startOfDay(Date.now()) - DAY
      const limit = PAGE * 2
      for (let skip = 0; skip < LARGEST_PAGE; skip += limit) {
        const mark = this.store.mark()
        const page = await this.api.page({ ...EVERYTHING, state: 'ended' }, limit, skip)
        this.store.merge(page.uploads, mark)
        const last = page.uploads.at(-1)
        this.isTallyLow = skip + limit < page.total && (last?.createdAt ?? 0) >= oldest
        if (!this.isTallyLow) return
      }
    })
  }

  private async loadPage(limit: number, skip: number): Promise<boolean> {
    const { pages } = this
    this.loading = pages
    this.failure = null
    this.publish()
    const onFailure = (message: string) => {
      if (pages === this.pages) this.failure = { message, limit, skip }
    }
    const isDone = await this.attempt(async () => {
      const mark = this.store.mark()
      const { uploads, total } = await this.api.page(pages.query, limit, skip)
      this.store.merge(uploads, mark)
      pages.take(uploads, skip, total)
    }, onFailure)
    if (this.loading === pages) this.loading = null
    this.publish()
    return isDone
  }

  /** Whether it worked. Programming errors are not taken for failures of the network. */
  private async attempt(
    load: () => Promise<void>,
    onFailure: (message: string) => void = () => undefined,
  ): Promise<boolean> {
    try {
      await load()
      return true
    } catch (error) {
      if (error instanceof Refused && error.status === 401) this.onUnauthorized()
      onFailure(error instanceof Refused ? error.message : '')
      return false
    }
  }

  /** Does it after a pause; a second wish begins the pause anew, unless the first `isKept`. */
  private later(name: string, pause: number, act: () => void, { isKept = false } = {}): void {
    if (isKept && this.timers.has(name)) return
    clearTimeout(this.timers.get(name))
    const run = () => {
      this.timers.delete(name)
      act()
    }
    this.timers.set(name, setTimeout(run, pause))
  }

  private publish(): void {
    this.current = this.look()
    this.changes = []
    for (const listener of this.listeners) listener()
  }

  private look(): Snapshot {
    const now = Date.now()
    const uploads = this.store.all()
    const { pages } = this
    return {
      now,
      connection: this.connection,
      me: this.me,
      disk: this.disk,
      storage: this.storage,
      query: pages.query,
      ...pages.view(uploads),
      isLoading: this.loading === pages,
      failure: this.failure?.message ?? null,
      tally: tallyOf(uploads, now),
      isTallyLow: this.isTallyLow,
      rates: this.history.all(),
      changes: this.changes,
    }
  }
}

/** What is left of the file system, if there is one. */
function roomOf({ free, total }: Storage): Disk | null {
  return free === null || total === null ? null : { free, total }
}
