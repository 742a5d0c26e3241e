import { describeDevice } from './device.ts'
import { type Html, html, linkUrl } from './html.ts'
import { personBar } from './person-bar.ts'
import { page, script } from './shell.ts'

/** One sign-in of a person. Instants are epoch milliseconds. */
export interface ListedSession {
  /** What the form names it by; means nothing elsewhere. */
  handle: string
  userAgent: string | undefined
  clientAddress: string | undefined
  signedInAt: number
  lastUsedAt: number
  isCurrent: boolean
}

export interface SessionsPage {
  language?: string | undefined
  displayName: string
  userName: string
  nowAt: number
  /** The one of this browser first. */
  sessions: readonly ListedSession[]
  /** What was just done, in a sentence. */
  notice?: string | undefined
  portalUrl: string
  signOutUrl: string
}

/** Where a person is signed in, with a way to end each. */
export function sessionsPage(facts: SessionsPage): string {
  const { sessions, nowAt } = facts
  const others = sessions.filter(({ isCurrent }) => !isCurrent)
  return page({
    title: 'Where you are signed in',
    language: facts.language,
    body: html`${personBar(facts, [
      [facts.portalUrl, 'Your applications'],
      [facts.signOutUrl, 'Sign out'],
    ])}
<main class="wall narrow" data-fresh>
<div>
<h1>Where you are signed in</h1>
<p class="lead">If you do not recognise one of these, sign it out, and ask your administrator for a new password.</p>
</div>
${facts.notice !== undefined && html`<p class="note" role="status">${facts.notice}</p>`}
<ul class="rows">
${sessions.map((session) => row(session, nowAt, facts.signOutUrl))}
</ul>
${
  others.length > 0 &&
  html`<form class="actions" method="post">
<input type="hidden" name="end" value="others">
<button class="button" type="submit">Sign out everywhere else</button>
</form>`
}
</main>${script}`,
  })
}

function row(session: ListedSession, nowAt: number, signOutUrl: string): Html {
  const device = describeDevice(session.userAgent)
  const { clientAddress, signedInAt, lastUsedAt, handle, isCurrent } = session
  return html`<li class="row">
<div>
<h2>${device}${isCurrent && html` <span class="badge">This browser</span>`}</h2>
<p class="detail">${clientAddress !== undefined && html`From ${clientAddress}. `}Signed in ${instant(signedInAt)}, last used ${ago(nowAt - lastUsedAt)}.</p>
</div>
${
  isCurrent
    ? html`<a class="button quiet" href="${linkUrl(signOutUrl)}">Sign out here</a>`
    : html`<form method="post">
<input type="hidden" name="end" value="${handle}">
<button class="button quiet" type="submit" aria-label="Sign out ${device}, signed in ${plain(signedInAt)}">Sign out</button>
</form>`
}
</li>`
}

/** In UTC: the server does not know where the reader is, and the page needs no script. */
function plain(at: number): string {
  return new Intl.DateTimeFormat('en-GB', {
    dateStyle: 'medium',
    timeStyle: 'short',
    timeZone: 'UTC',
  }).format(at)
}

function instant(at: number): Html {
  return html`<time datetime="${new Date(at).toISOString()}">${plain(at)} UTC</time>`
}

/** As exact as it is known: use is noted once a minute. */
function ago(ms: number): string {
  const minutes = Math.floor(ms / 60_000)
  if (minutes < 2) return 'just now'
  if (minutes < 120) return `${minutes} minutes ago`
  return `${Math.floor(minutes / 60)} hours ago`
}
