/** The page at `/dashboard`. */

import { useEffect, useMemo, useState, useSyncExternalStore } from 'react'
import type { Facts } from '../shared/facts.ts'
import { Header } from '../shared/header.tsx'
import { PageNav } from '../shared/page-nav.tsx'
import { Session, useSession } from '../shared/session.ts'
import { SignIn, SignOut } from '../shared/sign-in.tsx'
import { Announcer } from './announcer.tsx'
import { ConnectionState } from './connection-state.tsx'
import { Dashboard } from './dashboard.ts'
import { Details } from './details.tsx'
import { Filters } from './filters.tsx'
import { RateGraph } from './rate-graph.tsx'
import { Summary } from './summary.tsx'
import { TerminateDialog } from './terminate-dialog.tsx'
import { UploadList } from './upload-list.tsx'
import { useWords, WordsContext, wordsFor } from './words.ts'

interface DashboardPageProps {
  readonly facts: Facts
  readonly language: string
}

export function DashboardPage({ facts, language }: DashboardPageProps) {
  const words = useMemo(() => wordsFor(language), [language])
  const session = useMemo(() => new Session(), [])
  const { token, asks } = useSession(session)
  const { texts } = words
  return (
    <WordsContext value={words}>
      <div className="page is-wide">
        <Header>
          <PageNav current="dashboard" language={language} />
          <SignOut session={session} texts={texts.signIn} />
        </Header>
        <main>
          {asks && <h1>{texts.title}</h1>}
          <SignIn session={session} texts={texts.signIn} />
          {!asks && <Board key={token} facts={facts} session={session} />}
        </main>
      </div>
    </WordsContext>
  )
}

interface BoardProps {
  readonly facts: Facts
  readonly session: Session
}

/** Everything for one person. */
function Board({ facts, session }: BoardProps) {
  const dashboard = useDashboard(facts, session)
  const snapshot = useSyncExternalStore(dashboard.subscribe, dashboard.snapshot)
  const { texts } = useWords()
  const [shown, setShown] = useState<string | null>(null)
  const [doomed, setDoomed] = useState<string | null>(null)
  const { me, connection } = snapshot
  const showsOwners = me?.is_admin === true && me.user !== null
  return (
    <>
      <div className="title-row">
        <h1>{texts.title}</h1>
        <ConnectionState
          connection={connection}
          now={snapshot.now}
          onRetry={() => dashboard.retryNow()}
        />
      </div>
      <Summary snapshot={snapshot} />
      <RateGraph title={texts.rate} samples={snapshot.rates} now={snapshot.now} />
      <Filters
        query={snapshot.query}
        hasOwners={showsOwners}
        onQuery={(query, pause) => dashboard.show(query, pause)}
      />
      <UploadList
        snapshot={snapshot}
        hasOwners={showsOwners}
        dashboard={dashboard}
        onShow={setShown}
        onTerminate={setDoomed}
      />
      {shown !== null && (
        <Details
          id={shown}
          now={snapshot.now}
          dashboard={dashboard}
          onTerminate={setDoomed}
          onClose={() => setShown(null)}
        />
      )}
      {doomed !== null && (
        <TerminateDialog id={doomed} dashboard={dashboard} onClose={() => setDoomed(null)} />
      )}
      <Announcer changes={snapshot.changes} />
    </>
  )
}

function useDashboard({ api, uploads }: Facts, session: Session): Dashboard {
  const dashboard = useMemo(() => {
    const { token } = session.state
    return new Dashboard({ api, uploads, token }, () => session.refuse(token))
  }, [api, uploads, session])
  useEffect(() => {
    dashboard.start()
    return () => dashboard.stop()
  }, [dashboard])
  return dashboard
}
