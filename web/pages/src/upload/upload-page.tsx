/** The page at `/`: the uploader, and whatever this server needs to know besides. */

import { useEffect, useId, useMemo, useState } from 'react'
import { FileUploader } from 'tusserver-react'
import type { Facts } from '../shared/facts.ts'
import { Header } from '../shared/header.tsx'
import { PageNav } from '../shared/page-nav.tsx'
import { Session } from '../shared/session.ts'
import { SignIn, SignOut } from '../shared/sign-in.tsx'
import { type PageTexts, pageTextsFor } from './texts.ts'

interface UploadPageProps {
  readonly facts: Facts
  readonly language: string
}

export function UploadPage({ facts, language }: UploadPageProps) {
  const texts = pageTextsFor(language)
  const session = useMemo(() => new Session(), [])
  const [destination, setDestination] = useState(linkedDestination)
  useEffect(() => {
    if (facts.acceptsToken && facts.api !== '') void session.check(facts.api)
  }, [session, facts])
  return (
    <div className="page">
      <Header>
        {facts.api !== '' && <PageNav current="upload" language={language} />}
        <SignOut session={session} texts={texts.signIn} />
      </Header>
      <main>
        <h1>{texts.title}</h1>
        <SignIn session={session} texts={texts.signIn} />
        {facts.hasDestinations && (
          <Destination texts={texts} value={destination} onChange={setDestination} />
        )}
        <FileUploader
          endpoint={facts.uploads}
          accept={facts.accept}
          maxSize={facts.maxSize}
          destination={destination.trim()}
          token={facts.acceptsToken ? session.provide : undefined}
          language={language}
        />
      </main>
    </div>
  )
}

/** The folder that the link to this page names, as portals do: `?destination=jobs/42`. */
function linkedDestination(): string {
  return new URLSearchParams(window.location.search).get('destination') ?? ''
}

interface DestinationProps {
  readonly texts: PageTexts
  readonly value: string
  readonly onChange: (value: string) => void
}

function Destination({ texts, value, onChange }: DestinationProps) {
  const id = useId()
  return (
    <div className="field">
      <label htmlFor={id}>{texts.destination}</label>
      <input
        id={id}
        type="text"
        autoComplete="off"
        spellCheck={false}
        aria-describedby={`${id}-hint`}
        value={value}
        onChange={(event) => onChange(event.target.value)}
      />
      <p id={`${id}-hint`}>{texts.destinationHint}</p>
    </div>
  )
}
