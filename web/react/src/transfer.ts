/**
 * One file on its way: a series of tus uploads that go on where the one before ended.
 *
 * tus-js-client sends; what it would decide about retries is decided here, since a retry is to be
 * seen by the user, waits for the network to come back, and takes a new chunk size.
 */

import { type HttpRequest, type HttpResponse, type PreviousUpload, Upload } from 'tus-js-client'
import { capabilitiesOf } from './capabilities.ts'
import { retryDelay } from './core/backoff.ts'
import { chunkSizeFor } from './core/chunk-size.ts'
import { failureBefore, type UploadFailure } from './core/failures.ts'
import { fingerprintOf } from './core/fingerprint.ts'
import { partCount } from './core/parts.ts'
import { SpeedMeter, secondsLeft } from './core/speed.ts'
import { ResumeStorage } from './resume-storage.ts'
import { failureFrom, type TokenProvider, Transport, type TransportOptions } from './transport.ts'

/** `finishing`: all bytes are sent, and the server is checking them. */
export type UploadStatus =
  | 'idle'
  | 'queued'
  | 'uploading'
  | 'finishing'
  | 'paused'
  | 'completed'
  | 'error'

/** How an upload gets on. */
export interface UploadState {
  readonly status: UploadStatus
  /** Bytes of the file that have been sent, and all of them. */
  readonly sent: number
  readonly size: number
  /** The same as a percentage, 0–100. */
  readonly progress: number
  /** Bytes per second over the last seconds; null while that is not known. */
  readonly speed: number | null
  /** Seconds that are left at this speed; null while that is not known. */
  readonly eta: number | null
  /** In status `error`, and while a retry is waited for. */
  readonly error: UploadFailure | null
  /** Number of the retry that is waited for or under way, 0 if none. */
  readonly attempt: number
  /** Where the upload is on the server; null before it is created, or while it goes in parts. */
  readonly uploadUrl: string | null
}

/** Where to, and how. */
export interface TransferOptions {
  /** URL at which uploads are created; may be relative to the page. */
  readonly endpoint: string
  readonly destination?: string | undefined
  /** Further metadata; `filename`, `filetype` and `destination` are set anyway. */
  readonly metadata?: Readonly<Record<string, string>> | undefined
  readonly token?: TokenProvider | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly withCredentials?: boolean | undefined
  /** Bytes per request, or `auto` to follow the measured speed. */
  readonly chunkSize?: number | 'auto' | undefined
  /** Parts at most in which a large file goes at the same time; 1 for none. */
  readonly parallel?: number | undefined
}

const TICK = 250
const GONE = new Set([404, 410])
const storage = new ResumeStorage()

/** The entries of unfinished uploads that are kept in this browser, newest first. */
export function keptUploads(): Promise<PreviousUpload[]> {
  return storage.findAllUploads()
}

/** Lets go of a kept entry, and of its bytes on the server. */
export async function forgetKept(kept: PreviousUpload, options: TransportOptions): Promise<void> {
  await storage.removeUpload(kept.urlStorageKey)
  await Promise.all(urlsOf(kept).map((url) => terminate(url, options)))
}

/** See the module. `onChange` hears of every change, at most a few times a second of progress. */
export class Transfer {
  readonly file: File
  readonly fingerprint: string
  private readonly options: TransferOptions
  private readonly endpoint: string
  private readonly onChange: (state: UploadState) => void
  private readonly meter = new SpeedMeter()
  private readonly offsets = new Map<string, number>()
  private acknowledged = 0
  // Bytes per second, remembered over pauses and retries.
  private lastSpeed: number | null = null
  private upload: Upload | null = null
  // Whatever belongs to an earlier run comes too late.
  private run = 0
  private undoWait: () => void = () => undefined
  private ticker: ReturnType<typeof setInterval> | undefined
  private current: UploadState

  constructor(file: File, options: TransferOptions, onChange: (state: UploadState) => void) {
    this.file = file
    this.options = options
    this.onChange = onChange
    this.endpoint = new URL(options.endpoint, document.baseURI).href
    this.fingerprint = fingerprintOf(file, this.endpoint, options.destination ?? '')
    this.current = { ...IDLE, size: file.size }
  }

  get state(): UploadState {
    return this.current
  }

  /** Puts it into the status `queued`, from which `start` takes it. */
  wait(): void {
    this.stop()
    this.set({ status: 'queued', error: null, attempt: 0, speed: null, eta: null })
  }

  /** Starts or goes on, from wherever the server stands. */
  start(): void {
    if (isRunning(this.current.status) || this.current.status === 'completed') return
    this.set({ status: 'uploading', error: null, attempt: 0 })
    this.begin()
  }

  pause(): void {
    if (this.current.status !== 'uploading' && this.current.status !== 'queued') return
    this.stop()
    this.set({ status: 'paused', error: null, attempt: 0, speed: null, eta: null })
  }

  /** Does not begin: `objection` says why the file is not taken. */
  refuse(objection: 'type' | 'size' | 'folder'): void {
    this.stop()
    this.set({ status: 'error', error: failureBefore(objection) })
  }

  /** Gives up, and has the server remove what it has. Resolves when that is done or has failed. */
  async cancel(): Promise<void> {
    this.stop()
    const isOver = this.current.status === 'completed'
    this.set({ ...IDLE, size: this.file.size })
    const kept = await this.forget()
    const urls = isOver ? [] : new Set([...this.offsets.keys(), ...kept.flatMap(urlsOf)])
    await Promise.all([...urls].map((url) => terminate(url, this.transportOptions())))
  }

  private begin(): void {
    this.run += 1
    const run = this.run
    this.meter.reset(performance.now())
    clearInterval(this.ticker)
    this.ticker = setInterval(() => this.publish(), TICK)
    this.attempt(run).catch((error: unknown) => this.failed(run, error))
  }

  private async attempt(run: number): Promise<void> {
    const server = await capabilitiesOf(this.endpoint)
    const [previous] = await storage.findUploadsByFingerprint(this.fingerprint)
    if (run !== this.run) return
    if (server.maxSize !== null && this.file.size > server.maxSize) return this.refuse('size')
    const wanted = partCount(this.file.size, this.options.parallel ?? 2, server.extensions)
    // What was begun in parts goes on in the same parts.
    const parts = previous ? (previous.parallelUploadUrls?.length ?? 1) : wanted
    const upload = new Upload(this.file, this.uploadOptions(run, parts))
    if (previous) upload.resumeFromPreviousUpload(previous)
    this.upload = upload
    upload.start()
  }

  private uploadOptions(run: number, parts: number) {
    const metadata = this.metadata()
    return {
      endpoint: this.endpoint,
      metadata,
      metadataForPartialUploads: metadata,
      headers: { ...this.options.headers },
      fingerprint: async () => this.fingerprint,
      urlStorage: storage,
      removeFingerprintOnSuccess: true,
      httpStack: new Transport(this.transportOptions()),
      chunkSize: this.chunkSize(),
      parallelUploads: parts,
      retryDelays: null,
      onProgress: (sent: number) => this.progressed(run, sent),
      onChunkComplete: () => this.chunkCompleted(run),
      onSuccess: () => this.succeeded(run),
      onError: (error: unknown) => this.failed(run, error),
    }
  }

  private transportOptions(): TransportOptions {
    return {
      token: this.options.token,
      withCredentials: this.options.withCredentials,
      onBytes: (count) => this.moved(count),
      onAnswer: (request, response) => this.answered(request, response),
    }
  }

  private metadata(): Record<string, string> {
    const { destination } = this.options
    return {
      ...this.options.metadata,
      filename: this.file.name,
      ...(this.file.type === '' ? {} : { filetype: this.file.type }),
      ...(destination ? { destination } : {}),
    }
  }

  private chunkSize(): number {
    const wanted = this.options.chunkSize ?? 'auto'
    return wanted === 'auto' ? chunkSizeFor(this.lastSpeed) : wanted
  }

  /**
   * tus-js-client 4 looks at `options.chunkSize` of the upload before each request, and a File can
   * be cut anywhere, so a new size may be set between two. The parts of a parallel upload have
   * copies of the options: they keep the size with which the attempt began.
   */
  private chunkCompleted(run: number): void {
    if (run !== this.run || this.upload === null) return
    this.lastSpeed = this.meter.rate(performance.now()) ?? this.lastSpeed
    this.upload.options.chunkSize = this.chunkSize()
  }

  private moved(count: number): void {
    this.meter.add(performance.now(), count)
    // The connection is back, so the message about it goes.
    if (this.current.error !== null && count > 0) this.set({ error: null })
  }

  private answered(request: HttpRequest, response: HttpResponse): void {
    const location = response.getHeader('Location')
    const isCreated = request.getMethod() === 'POST' && location != null
    const url = isCreated ? new URL(location, this.endpoint).href : request.getURL()
    const offset = Number.parseInt(response.getHeader('Upload-Offset') ?? '', 10)
    if (isCreated || !Number.isNaN(offset)) this.offsets.set(url, offset || 0)
    else if (GONE.has(response.getStatus())) this.offsets.delete(url)
    const before = this.acknowledged
    this.acknowledged = [...this.offsets.values()].reduce((sum, each) => sum + each, 0)
    // Bytes got through, so the next failure is the first of its kind.
    if (this.acknowledged > before && this.current.attempt > 0) this.set({ attempt: 0 })
  }

  private progressed(run: number, sent: number): void {
    if (run !== this.run || !isRunning(this.current.status)) return
    const isSent = sent >= this.file.size
    const url = this.upload?.url ?? null
    // The rest is published with the next tick.
    this.current = { ...this.current, sent, uploadUrl: url }
    if (isSent !== (this.current.status === 'finishing')) {
      this.set({ status: isSent ? 'finishing' : 'uploading' })
    }
  }

  private succeeded(run: number): void {
    if (run !== this.run) return
    const uploadUrl = this.upload?.url ?? null
    this.stop()
    const sent = this.file.size
    this.set({ status: 'completed', sent, uploadUrl, error: null, attempt: 0, speed: null, eta: 0 })
  }

  private failed(run: number, error: unknown): void {
    if (run !== this.run) return
    // First, for an answer is empty once its request has been aborted.
    const failure = failureFrom(error, navigator.onLine)
    this.stop()
    const delay = failure.isPassing ? retryDelay(this.current.attempt, failure.retryAfter) : null
    if (failure.kind !== 'offline' && delay === null) {
      this.giveUp(failure)
      return
    }
    const attempt = failure.kind === 'offline' ? this.current.attempt : this.current.attempt + 1
    this.set({ status: 'uploading', error: failure, attempt, speed: null, eta: null })
    this.goOnLater(failure.kind === 'offline' ? null : delay)
  }

  private goOnLater(delay: number | null): void {
    const goOn = () => {
      this.undoWait()
      this.begin()
    }
    const timer = delay === null ? undefined : setTimeout(goOn, delay)
    if (delay === null) window.addEventListener('online', goOn)
    this.undoWait = () => {
      clearTimeout(timer)
      window.removeEventListener('online', goOn)
    }
  }

  private giveUp(failure: UploadFailure): void {
    // Nothing is left to go on with: whoever picks the file again starts anew.
    if (!failure.canRetry) void this.forget()
    this.set({ status: 'error', error: failure, speed: null, eta: null })
  }

  private async forget(): Promise<PreviousUpload[]> {
    const kept = await storage.findUploadsByFingerprint(this.fingerprint)
    await Promise.all(kept.map((entry) => storage.removeUpload(entry.urlStorageKey)))
    return kept
  }

  private stop(): void {
    this.run += 1
    this.undoWait()
    clearInterval(this.ticker)
    void this.upload?.abort()
    this.upload = null
  }

  private publish(): void {
    const speed = this.meter.rate(performance.now())
    if (speed !== null && speed > 0) this.lastSpeed = speed
    const left = this.file.size - this.current.sent
    this.set({ speed, eta: secondsLeft(left, speed) })
  }

  private set(change: Partial<UploadState>): void {
    const next = { ...this.current, ...change }
    const progress = next.size === 0 ? (next.status === 'completed' ? 100 : 0) : percent(next)
    this.current = { ...next, progress }
    this.onChange(this.current)
  }
}

/** An upload that has not begun. */
export const IDLE: UploadState = {
  status: 'idle',
  sent: 0,
  size: 0,
  progress: 0,
  speed: null,
  eta: null,
  error: null,
  attempt: 0,
  uploadUrl: null,
}

/** It uses the network, or is about to. */
export function isRunning(status: UploadStatus): boolean {
  return status === 'uploading' || status === 'finishing'
}

function percent({ sent, size }: UploadState): number {
  return Math.min(100, (sent / size) * 100)
}

function urlsOf(kept: PreviousUpload): string[] {
  return [...(kept.parallelUploadUrls ?? []), kept.uploadUrl].filter((url) => url != null)
}

/** What cannot be removed now is removed by the server when it expires. */
async function terminate(url: string, options: TransportOptions): Promise<void> {
  const { token, withCredentials } = options
  const httpStack = new Transport({ token, withCredentials })
  await Upload.terminate(url, { httpStack, retryDelays: [1000, 2000, 4000] }).catch(() => undefined)
}
