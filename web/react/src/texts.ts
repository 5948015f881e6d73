/** What the uploader says. Names between braces are filled in. */

import type { FailureKind, UploadFailure } from './core/failures.ts'

/** All texts of the uploader, to be replaced one by one or as a whole. */
export interface Texts {
  /** Locale for numbers, as `en`. */
  readonly locale: string
  readonly drop: string
  readonly dropHere: string
  readonly choose: string
  readonly limits: { readonly size: string; readonly types: string }
  readonly list: string
  readonly queued: string
  readonly starting: string
  /** {done} of {size}, as `1 MiB`. */
  readonly amount: string
  /** {time} as `2 min`. */
  readonly left: string
  readonly finishing: string
  readonly paused: string
  readonly completed: string
  /** {attempt} of {most}. */
  readonly retrying: string
  readonly offline: string
  readonly pause: string
  readonly resume: string
  readonly cancel: string
  readonly retry: string
  readonly remove: string
  readonly another: string
  readonly clear: string
  /** {action} for {name}: what a button is called for those who do not see where it is. */
  readonly actionFor: string
  /** {name}, {state}: for screen readers. */
  readonly announcement: string
  /** {done}, {count}: above the list. */
  readonly summary: string
  readonly unfinished: string
  readonly forget: string
  /** By kind; {types} and {size} are the limits. */
  readonly failures: Readonly<Record<FailureKind, string>>
}

export const english: Texts = {
  locale: 'en',
  drop: 'Drop files here, or',
  dropHere: 'Let go to upload',
  choose: 'choose files',
  limits: { size: 'up to {size} each', types: '{types}' },
  list: 'Uploads',
  queued: 'Waiting for its turn',
  starting: 'Starting …',
  amount: '{done} of {size}',
  left: '{time} left',
  finishing: 'Everything is sent, the server is checking the file …',
  paused: 'Paused',
  completed: 'Uploaded',
  retrying: 'Trying again, {attempt} of {most} …',
  offline: 'No network. It goes on by itself when the network is back.',
  pause: 'Pause',
  resume: 'Resume',
  cancel: 'Cancel',
  retry: 'Try again',
  remove: 'Remove from the list',
  another: 'Upload another',
  clear: 'Clear finished',
  actionFor: '{action}: {name}',
  announcement: '{name}: {state}',
  summary: '{done} of {count} uploaded',
  unfinished:
    'Unfinished from an earlier visit. Choose the same file again and it goes on from where it was:',
  forget: 'Discard',
  failures: {
    offline: 'There is no network.',
    network: 'The server cannot be reached.',
    server: 'The server failed.',
    unauthorized: 'Your sign-in is missing or no longer valid.',
    full: 'The server has no room left.',
    refused: 'The server refused the upload.',
    type: 'This kind of file is not taken here.',
    size: 'The file is too large.',
    folder: 'This is a folder. Choose the files in it instead.',
  },
}

export const korean: Texts = {
  locale: 'ko',
  drop: '여기에 파일을 끌어다 놓거나',
  dropHere: '놓으면 업로드가 시작됩니다',
  choose: '파일을 선택하세요',
  limits: { size: '파일당 최대 {size}', types: '{types}' },
  list: '업로드',
  queued: '차례를 기다리는 중',
  starting: '시작하는 중 …',
  amount: '{size} 중 {done}',
  left: '{time} 남음',
  finishing: '전송을 마쳤습니다. 서버가 파일을 확인하고 있습니다 …',
  paused: '일시정지됨',
  completed: '업로드 완료',
  retrying: '다시 시도하는 중, {most}회 중 {attempt}회 …',
  offline: '네트워크에 연결되어 있지 않습니다. 다시 연결되면 자동으로 이어집니다.',
  pause: '일시정지',
  resume: '이어서 업로드',
  cancel: '취소',
  retry: '다시 시도',
  remove: '목록에서 지우기',
  another: '다른 파일 업로드',
  clear: '완료된 항목 지우기',
  actionFor: '{action}: {name}',
  announcement: '{name}: {state}',
  summary: '{count}개 중 {done}개 완료',
  unfinished: '이전에 끝나지 않은 업로드입니다. 같은 파일을 다시 선택하면 멈춘 곳부터 이어집니다:',
  forget: '버리기',
  failures: {
    offline: '네트워크에 연결되어 있지 않습니다.',
    network: '서버에 연결할 수 없습니다.',
    server: '서버에 오류가 발생했습니다.',
    unauthorized: '로그인하지 않았거나 로그인이 만료되었습니다.',
    full: '서버에 남은 공간이 없습니다.',
    refused: '서버가 업로드를 거부했습니다.',
    type: '이 형식의 파일은 올릴 수 없습니다.',
    size: '파일이 너무 큽니다.',
    folder: '폴더입니다. 안에 있는 파일을 선택하세요.',
  },
}

/** The shipped texts for a language tag, as that of the browser. */
export function textsFor(language: string): Texts {
  return /^ko\b/i.test(language) ? korean : english
}

/** `{name}` becomes the value of that name; what has no value stays. */
export function fill(template: string, values: Readonly<Record<string, string | number>>): string {
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole))
}

/** A failure in words: ours for what it is, and the server's own sentence behind it. */
export function failureText(failure: UploadFailure, texts: Texts): string {
  const own = texts.failures[failure.kind]
  if (failure.message === null) return own
  const sentence = failure.message.charAt(0).toUpperCase() + failure.message.slice(1)
  return `${own} ${/[.!?。]$/.test(sentence) ? sentence : `${sentence}.`}`
}
