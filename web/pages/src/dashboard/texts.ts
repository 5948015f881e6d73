/** What the dashboard says. Names between braces are filled in. */

import type { SignInTexts } from '../shared/sign-in.tsx'
import type { Order, StateFilter } from './core/query.ts'

/** States of an upload, and that its client sends nothing. */
export type StateName = 'uploading' | 'idle' | 'finishing' | 'finished' | 'refused' | 'expired'

export interface DashboardTexts {
  readonly locale: string
  readonly title: string
  readonly connecting: string
  readonly live: string
  /** {time} as `4 sec`. */
  readonly broken: string
  readonly trying: string
  readonly tryNow: string
  readonly summary: string
  readonly active: string
  readonly idleCount: string
  readonly finishingCount: string
  readonly today: string
  readonly refusedCount: string
  readonly stored: string
  readonly uploadCount: string
  readonly ofQuota: string
  readonly room: string
  readonly roomOf: string
  readonly roomUsed: string
  readonly rate: string
  readonly rateNow: string
  readonly rateGraph: string
  readonly before: string
  readonly now: string
  readonly filters: string
  readonly states: Readonly<Record<StateFilter, string>>
  readonly name: string
  readonly owner: string
  readonly ownerHint: string
  readonly sort: string
  readonly orders: Readonly<Record<Order, string>>
  readonly list: string
  readonly file: string
  readonly size: string
  readonly progress: string
  readonly progressOf: string
  readonly state: string
  readonly speed: string
  readonly left: string
  readonly started: string
  readonly actions: string
  readonly stateNames: Readonly<Record<StateName, string>>
  readonly steps: Readonly<Record<string, string>>
  readonly part: string
  readonly joined: string
  readonly noName: string
  readonly none: string
  readonly shown: string
  readonly more: string
  readonly loading: string
  readonly empty: string
  readonly emptyFiltered: string
  readonly clearFilters: string
  readonly failure: string
  readonly again: string
  readonly details: string
  readonly close: string
  readonly received: string
  readonly receivedOf: string
  readonly changed: string
  readonly expires: string
  readonly never: string
  readonly destination: string
  readonly place: string
  readonly scan: string
  readonly scanClean: string
  readonly digest: string
  readonly kind: string
  readonly id: string
  readonly url: string
  readonly copy: string
  readonly copied: string
  readonly metadata: string
  readonly gone: string
  readonly terminate: string
  readonly terminateNamed: string
  readonly terminateTitle: string
  readonly terminateText: string
  readonly remove: string
  readonly removeTitle: string
  readonly removeText: string
  /** Of an upload whose file has gone to its {place}. */
  readonly removePlaced: string
  readonly terminating: string
  readonly keep: string
  readonly forbidden: string
  readonly locked: string
  readonly notTerminated: string
  readonly unreachable: string
  readonly changedTo: string
  readonly manyChanged: string
  readonly signIn: SignInTexts
}

const english: DashboardTexts = {
  locale: 'en',
  title: 'Dashboard',
  connecting: 'Connecting …',
  live: 'Live',
  broken: 'Connection lost. Trying again in {time}.',
  trying: 'Connection lost. Trying again …',
  tryNow: 'Try now',
  summary: 'Summary',
  active: 'Active now',
  idleCount: '{count} idle',
  finishingCount: '{count} being checked',
  today: 'Finished today',
  refusedCount: '{count} refused',
  stored: 'Stored',
  uploadCount: '{count} uploads',
  ofQuota: 'of {quota}',
  room: 'Room left',
  roomOf: 'of {total}',
  roomUsed: 'Used room',
  rate: 'Receiving',
  rateNow: '{rate} now',
  rateGraph: 'Rate over the last two minutes: {rate} now, {highest} at most',
  before: '2 minutes ago',
  now: 'now',
  filters: 'Filter',
  states: { all: 'All', active: 'Active', ended: 'Ended' },
  name: 'File name',
  owner: 'Owner',
  ownerHint: 'The whole name',
  sort: 'Sort by',
  orders: {
    '-created': 'Newest first',
    created: 'Oldest first',
    name: 'Name, A to Z',
    '-name': 'Name, Z to A',
    '-size': 'Largest first',
    size: 'Smallest first',
  },
  list: 'Uploads',
  file: 'File',
  size: 'Size',
  progress: 'Progress',
  progressOf: 'Progress of {name}',
  state: 'State',
  speed: 'Speed',
  left: 'Time left',
  started: 'Started',
  actions: 'Actions',
  stateNames: {
    uploading: 'Uploading',
    idle: 'Idle',
    finishing: 'Being checked',
    finished: 'Finished',
    refused: 'Refused',
    expired: 'Expired',
  },
  steps: {
    digest: 'Computing the digest',
    scan: 'Scanning for viruses',
    hook: 'Asking the application',
    place: 'Putting it in place',
  },
  part: 'Part of another upload',
  joined: 'Joined from parts',
  noName: 'No name',
  none: '–',
  shown: '{shown} of {total}',
  more: 'Show more',
  loading: 'Loading …',
  empty: 'There are no uploads yet.',
  emptyFiltered: 'No upload is like this.',
  clearFilters: 'Show all',
  failure: 'The list could not be loaded.',
  again: 'Try again',
  details: 'Details',
  close: 'Close',
  received: 'Received',
  receivedOf: '{offset} of {length}',
  changed: 'Last change',
  expires: 'Will be removed',
  never: 'Never',
  destination: 'Wanted folder',
  place: 'Place',
  scan: 'Virus scan',
  scanClean: 'Clean',
  digest: 'Digest ({algorithm})',
  kind: 'Kind',
  id: 'Id',
  url: 'Upload URL',
  copy: 'Copy',
  copied: 'Copied',
  metadata: 'Metadata of the client',
  gone: 'This upload does not exist any more.',
  terminate: 'Terminate',
  terminateNamed: 'Terminate {name}',
  terminateTitle: 'Terminate this upload?',
  terminateText:
    'What has arrived of “{name}” is deleted, and its client cannot go on. This cannot be undone.',
  remove: 'Delete',
  removeTitle: 'Delete this upload?',
  removeText: '“{name}” is deleted from the server. This cannot be undone.',
  removePlaced: 'The server deletes its record of “{name}”. The file itself stays at {place}.',
  terminating: 'One moment …',
  keep: 'Keep it',
  forbidden: 'You may not do this.',
  locked: 'The upload is busy at the moment. Try again.',
  notTerminated: 'The server did not do it.',
  unreachable: 'The server cannot be reached.',
  changedTo: '{name}: {state}',
  manyChanged: '{count} uploads have changed their state',
  signIn: {
    title: 'Sign in',
    explanation: 'Paste the token that your portal gave you. It is kept until you close this tab.',
    refused: 'The token is not valid, or no longer. Paste a new one.',
    token: 'Token',
    signIn: 'Sign in',
    signOut: 'Sign out',
  },
}

const korean: DashboardTexts = {
  locale: 'ko',
  title: '대시보드',
  connecting: '연결하는 중 …',
  live: '실시간',
  broken: '연결이 끊어졌습니다. {time} 후 다시 시도합니다.',
  trying: '연결이 끊어졌습니다. 다시 연결하는 중 …',
  tryNow: '지금 시도',
  summary: '요약',
  active: '진행 중',
  idleCount: '대기 {count}개',
  finishingCount: '확인 중 {count}개',
  today: '오늘 완료',
  refusedCount: '거부 {count}개',
  stored: '저장됨',
  uploadCount: '업로드 {count}개',
  ofQuota: '한도 {quota}',
  room: '남은 공간',
  roomOf: '전체 {total}',
  roomUsed: '사용 중인 공간',
  rate: '수신 속도',
  rateNow: '현재 {rate}',
  rateGraph: '최근 2분간의 속도: 현재 {rate}, 최고 {highest}',
  before: '2분 전',
  now: '지금',
  filters: '필터',
  states: { all: '전체', active: '진행 중', ended: '종료됨' },
  name: '파일 이름',
  owner: '소유자',
  ownerHint: '정확한 이름',
  sort: '정렬',
  orders: {
    '-created': '최신순',
    created: '오래된순',
    name: '이름 오름차순',
    '-name': '이름 내림차순',
    '-size': '큰 파일순',
    size: '작은 파일순',
  },
  list: '업로드',
  file: '파일',
  size: '크기',
  progress: '진행률',
  progressOf: '{name} 진행률',
  state: '상태',
  speed: '속도',
  left: '남은 시간',
  started: '시작',
  actions: '작업',
  stateNames: {
    uploading: '업로드 중',
    idle: '대기 중',
    finishing: '확인 중',
    finished: '완료',
    refused: '거부됨',
    expired: '만료됨',
  },
  steps: {
    digest: '다이제스트 계산 중',
    scan: '바이러스 검사 중',
    hook: '애플리케이션 확인 중',
    place: '파일 배치 중',
  },
  part: '다른 업로드의 일부',
  joined: '여러 부분을 합친 업로드',
  noName: '이름 없음',
  none: '–',
  shown: '{total}개 중 {shown}개',
  more: '더 보기',
  loading: '불러오는 중 …',
  empty: '아직 업로드가 없습니다.',
  emptyFiltered: '조건에 맞는 업로드가 없습니다.',
  clearFilters: '모두 보기',
  failure: '목록을 불러오지 못했습니다.',
  again: '다시 시도',
  details: '자세히',
  close: '닫기',
  received: '받은 양',
  receivedOf: '{length} 중 {offset}',
  changed: '마지막 변경',
  expires: '삭제 예정',
  never: '없음',
  destination: '요청한 폴더',
  place: '저장 위치',
  scan: '바이러스 검사',
  scanClean: '이상 없음',
  digest: '다이제스트 ({algorithm})',
  kind: '종류',
  id: 'ID',
  url: '업로드 URL',
  copy: '복사',
  copied: '복사됨',
  metadata: '클라이언트 메타데이터',
  gone: '이 업로드는 더 이상 없습니다.',
  terminate: '중단 및 삭제',
  terminateNamed: '{name} 중단 및 삭제',
  terminateTitle: '이 업로드를 중단하고 삭제할까요?',
  terminateText:
    '지금까지 받은 “{name}” 데이터가 삭제되고, 이어서 올릴 수 없게 됩니다. 되돌릴 수 없습니다.',
  remove: '삭제',
  removeTitle: '이 업로드를 삭제할까요?',
  removeText: '“{name}” 파일이 서버에서 삭제됩니다. 되돌릴 수 없습니다.',
  removePlaced: '서버에서 “{name}” 기록이 삭제됩니다. 파일은 {place}에 그대로 남습니다.',
  terminating: '처리하는 중 …',
  keep: '그대로 두기',
  forbidden: '권한이 없습니다.',
  locked: '업로드가 지금 사용 중입니다. 다시 시도하세요.',
  notTerminated: '서버가 요청을 처리하지 않았습니다.',
  unreachable: '서버에 연결할 수 없습니다.',
  changedTo: '{name}: {state}',
  manyChanged: '업로드 {count}개의 상태가 바뀌었습니다',
  signIn: {
    title: '로그인',
    explanation: '포털에서 받은 토큰을 붙여 넣으세요. 이 탭을 닫을 때까지만 보관됩니다.',
    refused: '토큰이 올바르지 않거나 만료되었습니다. 새 토큰을 붙여 넣으세요.',
    token: '토큰',
    signIn: '로그인',
    signOut: '로그아웃',
  },
}

/** For a language tag, as that of the browser. */
export function dashboardTextsFor(language: string): DashboardTexts {
  return /^ko\b/i.test(language) ? korean : english
}
