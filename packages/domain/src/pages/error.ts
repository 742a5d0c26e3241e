import { html, linkUrl } from './html.ts'
import { cardPage, reloadScript } from './shell.ts'

export interface ErrorPage {
  language?: string | undefined
  statusCode: number
  /** Stable word for support and documentation, such as `user-not-assigned`. */
  code: string
  /** What happened, in a few words. */
  title: string
  /** One or two sentences. Fixed text: nothing from the request, nothing of the inside. */
  explanation: string
  /** What the reader can do. */
  remedy?: string | undefined
  correlationId: string
  signedInAs?: string | undefined
  links?: readonly { href: string; label: string }[] | undefined
  /** Offers to repeat the request. */
  retry?: boolean | undefined
}

export function errorPage(facts: ErrorPage): string {
  const links = facts.links ?? []
  return cardPage({
    title: facts.title,
    language: facts.language,
    wide: true,
    body: html`<div>
<span class="status">Error ${facts.statusCode}</span>
<h1>${facts.title}</h1>
<p class="lead">${facts.explanation}</p>
</div>
${facts.remedy !== undefined && html`<p>${facts.remedy}</p>`}
${
  (links.length > 0 || facts.retry) &&
  html`<div class="actions">
${facts.retry && html`<button class="button" type="button" data-reload hidden>Try again</button>`}
${links.map(
  ({ href, label }, index) =>
    html`<a class="button${index > 0 || facts.retry ? ' quiet' : ''}" href="${linkUrl(href)}">${label}</a>`,
)}
</div>`
}
<dl class="facts">
${facts.signedInAs !== undefined && html`<dt>Signed in as</dt><dd>${facts.signedInAs}</dd>`}
<dt>Code</dt><dd><code>${facts.code}</code></dd>
<dt>Correlation ID</dt><dd><code>${facts.correlationId}</code></dd>
</dl>${facts.retry && reloadScript}`,
  })
}

export interface SignInAgainPage {
  language?: string | undefined
  applicationName?: string | undefined
  /** Begins the sign-in; opened in a new tab, so that what was entered here is not lost. */
  signInUrl: string
  correlationId: string
}

/**
 * Answers a form that was sent after the session had ended. What was sent is not in the page: the
 * browser still has it, and sends it again when the page is reloaded.
 */
export function signInAgainPage(facts: SignInAgainPage): string {
  return cardPage({
    title: 'Sign in again',
    language: facts.language,
    wide: true,
    body: html`<div>
<h1>Your session has ended</h1>
<p class="lead">${
      facts.applicationName === undefined
        ? 'The application'
        : html`<strong>${facts.applicationName}</strong>`
    } has not received what you just sent. You do not have to enter it again:</p>
</div>
<ol class="steps">
<li>Sign in. It opens in a new tab.</li>
<li>Come back to this tab.</li>
<li>Reload this page, and confirm that your browser may send the form again.</li>
</ol>
<div class="actions">
<a class="button" href="${linkUrl(facts.signInUrl)}" target="_blank" rel="noopener">Sign in in a new tab</a>
<button class="button quiet" type="button" data-reload hidden>Send again</button>
</div>
<dl class="facts"><dt>Code</dt><dd><code>session-ended</code></dd><dt>Correlation ID</dt><dd><code>${facts.correlationId}</code></dd></dl>${reloadScript}`,
  })
}

/** Shown in that new tab when the sign-in is done. */
export function signInDonePage(facts: { language?: string | undefined } = {}): string {
  return cardPage({
    title: 'Signed in',
    language: facts.language,
    body: html`<div>
<h1>You are signed in</h1>
<p class="lead">Close this tab, go back to the one you came from and send the form again.</p>
</div>`,
  })
}
