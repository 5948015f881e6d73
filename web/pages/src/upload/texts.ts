/** What the upload page says around the uploader. */

import type { SignInTexts } from '../shared/sign-in.tsx'

export interface PageTexts {
  readonly title: string
  readonly destination: string
  readonly destinationHint: string
  readonly signIn: SignInTexts
}

const english: PageTexts = {
  title: 'Upload files',
  destination: 'Folder',
  destinationHint: 'Where the files are to go, as jobs/42. Leave it empty for your own folder.',
  signIn: {
    title: 'Sign in',
    explanation: 'Paste the token that your portal gave you. It is kept until you close this tab.',
    refused: 'The token is not valid, or no longer. Paste a new one and uploads go on.',
    token: 'Token',
    signIn: 'Sign in',
    signOut: 'Sign out',
  },
}

const korean: PageTexts = {
  title: '파일 업로드',
  destination: '폴더',
  destinationHint: '파일을 넣을 곳입니다. 예: jobs/42. 비워 두면 내 폴더에 저장됩니다.',
  signIn: {
    title: '로그인',
    explanation: '포털에서 받은 토큰을 붙여 넣으세요. 이 탭을 닫을 때까지만 보관됩니다.',
    refused: '토큰이 올바르지 않거나 만료되었습니다. 새 토큰을 붙여 넣으면 업로드가 이어집니다.',
    token: '토큰',
    signIn: '로그인',
    signOut: '로그아웃',
  },
}

/** For a language tag, as that of the browser. */
export function pageTextsFor(language: string): PageTexts {
  return /^ko\b/i.test(language) ? korean : english
}
