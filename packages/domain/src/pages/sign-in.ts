import { html, linkUrl } from './html.ts'
import { cardPage } from './shell.ts'

/** Why the sign-in page is shown again. Never says whether the user exists. */
export type SignInProblem = 'invalid' | 'limited' | 'busy'

export interface SignInPage {
  language?: string | undefined
  /** Name of the application that asks for the sign-in. */
  applicationName?: string | undefined
  /** What stands in the field: typed before, or hinted by the application. */
  userName?: string | undefined
  problem?: SignInProblem | undefined
  /** Seconds, for `limited`. */
  retryAfterSeconds?: number | undefined
}

function problemText(problem: SignInProblem, seconds: number | undefined): string {
  if (problem === 'invalid')
    return 'That user name and password do not match. Check both and try again. If you have forgotten your password, ask your administrator for a new one.'
  if (problem === 'busy') return 'Many people are signing in right now. Please try again.'
  const wait =
    seconds === undefined || seconds > 90
      ? 'a few minutes'
      : seconds > 1
        ? `${seconds} seconds`
        : 'a moment'
  return `Too many attempts. Wait ${wait}, then try again.`
}

/**
 * The form has no action: it goes back to the URL of the page, and so keeps the fragment, which the
 * browser then carries through the redirects to the application.
 */
export function signInPage(facts: SignInPage): string {
  const { applicationName, userName = '', problem } = facts
  const invalid = problem === 'invalid'
  const described = html`${problem && html` aria-describedby="problem"`}${invalid && html` aria-invalid="true"`}`
  const focusPassword = userName !== ''
  return cardPage({
    title: 'Sign in',
    language: facts.language,
    body: html`<div>
<h1>Sign in</h1>
<p class="lead">${
      applicationName === undefined
        ? 'Use your work account.'
        : html`to continue to <strong>${applicationName}</strong>`
    }</p>
</div>
${
  problem &&
  html`<p class="note bad" role="alert" id="problem">${problemText(problem, facts.retryAfterSeconds)}</p>`
}
<form class="fields" method="post">
<div class="field">
<label for="userName">User name</label>
<input id="userName" name="userName" type="text" value="${userName}" required maxlength="256" autocomplete="username" autocapitalize="none" autocorrect="off" spellcheck="false"${described}${!focusPassword && html` autofocus`}>
</div>
<div class="field">
<label for="password">Password</label>
<input id="password" name="password" type="password" required maxlength="1024" autocomplete="current-password"${described}${focusPassword && html` autofocus`}>
</div>
<button class="button" type="submit">Sign in</button>
</form>`,
    foot: html`Never enter your password if the address bar shows a site you do not know.`,
  })
}

export interface SignOutPage {
  language?: string | undefined
  /** Who is signed in, where the page may say it: pages on an application's host hold no claim. */
  person?: { displayName: string; userName: string } | undefined
  /** Where "Stay signed in" leads. */
  stayUrl?: string
  /** Hidden fields that prove the form came from this page. */
  fields?: Readonly<Record<string, string>>
  /** Where the form goes; the URL of the page unless given. */
  actionUrl?: string | undefined
}

/** Asks before it ends anything: a link or image elsewhere must not sign people out. */
export function signOutPage(facts: SignOutPage = {}): string {
  const { person, stayUrl = '/', fields = {}, actionUrl } = facts
  return cardPage({
    title: 'Sign out',
    language: facts.language,
    body: html`<div>
<h1>Sign out of everything?</h1>
<p class="lead">${
      person &&
      html`You are signed in as <strong>${person.displayName}</strong> (${person.userName}). `
    }This ends your session in every application that you opened in this browser.</p>
</div>
<form class="actions" method="post"${actionUrl !== undefined && html` action="${linkUrl(actionUrl)}"`}>
${Object.entries(fields).map(
  ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
)}
<button class="button" type="submit">Sign out</button>
<a class="button quiet" href="${linkUrl(stayUrl)}">Stay signed in</a>
</form>`,
  })
}

/** @param facts `signInUrl` is where a new session may begin: the portal */
export function signedOutPage(facts: { language?: string | undefined; signInUrl: string }): string {
  return cardPage({
    title: 'Signed out',
    language: facts.language,
    body: html`<div>
<h1>You are signed out</h1>
<p class="lead">Your session has ended in every application. On a shared computer, close all windows of this browser too.</p>
</div>
<div class="actions"><a class="button quiet" href="${linkUrl(facts.signInUrl)}">Sign in again</a></div>`,
  })
}

/**
 * Shown when somebody asks to sign out where this browser has no session: it may have others, so that
 * "signed out" would be a false promise.
 *
 * @param facts `portalUrl` shows what else the person is signed in to, and can end all of it
 */
export function notSignedInPage(facts: {
  language?: string | undefined
  portalUrl: string
}): string {
  return cardPage({
    title: 'Not signed in',
    language: facts.language,
    body: html`<div>
<h1>You are not signed in here</h1>
<p class="lead">If you have just signed out, nothing is left to do. If not, you may still be signed in to other applications: open them to sign out of everything.</p>
</div>
<div class="actions"><a class="button" href="${linkUrl(facts.portalUrl)}">Your applications</a></div>`,
  })
}

/** Shown to those who come back to the sign-in page, most often by the Back button, when they have signed in. */
export function alreadySignedInPage(facts: {
  language?: string | undefined
  portalUrl: string
}): string {
  return cardPage({
    title: 'Signed in already',
    language: facts.language,
    body: html`<div>
<h1>You are signed in already</h1>
<p class="lead">Nothing is left to do on this page. Go forward to the application that you came from, or choose one.</p>
</div>
<div class="actions"><a class="button" href="${linkUrl(facts.portalUrl)}">Your applications</a></div>`,
  })
}
