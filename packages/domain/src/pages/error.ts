import { type Html, html, linkUrl } from './html.ts'
import { cardPage, script } from './shell.ts'

export interface ErrorPage {
  language?: string | undefined
  statusCode: number
  /** Stable word for support and documentation, such as `USER_NOT_ASSIGNED`. */
  code: string
  /** What happened, in a few words. */
  title: string
  /** One or two sentences. Fixed text: nothing from the request, nothing of the inside. */
  explanation: string
  /** What the reader can do. */
  remedy?: string | undefined
  correlationId: string
  /** Display name of the application, for those who may know that it exists. */
  applicationName?: string | undefined
  signedInAs?: string | undefined
  /** What an application cannot be told, by the name that it has there. */
  claim?: string | undefined
  links?: readonly { href: string; label: string }[] | undefined
  /** Offers to open the same address again; for requests that were safe to make. */
  retry?: boolean | undefined
  /** Leaves out whose page it is, for addresses at which nobody is to learn of us. */
  anonymous?: boolean | undefined
}

export function errorPage(facts: ErrorPage): string {
  const links = facts.links ?? []
  return cardPage({
    title: facts.title,
    language: facts.language,
    wide: true,
    anonymous: facts.anonymous,
    body: html`<div>
<span class="status">Error ${facts.statusCode}</span>
<h1>${facts.title}</h1>
<p class="lead">${facts.explanation}</p>
</div>
${facts.remedy !== undefined && html`<p>${facts.remedy}</p>`}
${
  (links.length > 0 || facts.retry) &&
  html`<div class="actions">
${facts.retry && html`<a class="button" href="" data-reload>Try again</a>`}
${links.map(
  ({ href, label }, index) =>
    html`<a class="button${index > 0 || facts.retry ? ' quiet' : ''}" href="${linkUrl(href)}">${label}</a>`,
)}
</div>`
}
${forSupport(facts)}`,
  })
}

/** What an administrator asks for. One click selects the ID; where there is script, another copies it. */
function forSupport(
  facts: Pick<ErrorPage, 'applicationName' | 'signedInAs' | 'claim' | 'code' | 'correlationId'>,
): Html {
  return html`<dl class="facts">
${facts.applicationName !== undefined && html`<dt>Application</dt><dd>${facts.applicationName}</dd>`}
${facts.signedInAs !== undefined && html`<dt>Signed in as</dt><dd>${facts.signedInAs}</dd>`}
${facts.claim !== undefined && html`<dt>Claim</dt><dd><code>${facts.claim}</code></dd>`}
<dt>Code</dt><dd><code>${facts.code}</code></dd>
<dt>Correlation ID</dt><dd class="copy"><code>${facts.correlationId}</code>
<button type="button" data-copy="${facts.correlationId}" aria-label="Copy correlation ID" hidden>Copy</button>
<output></output></dd>
</dl>${script}`
}

export interface SignInAgainPage {
  language?: string | undefined
  applicationName?: string | undefined
  /** Begins the sign-in; opened in a new tab, so that what was entered here is not lost. */
  signInUrl: string
  correlationId: string
}

/**
 * Answers a form that was sent without a session, most often because it has ended. What was sent is
 * not in the page: the browser still has it, and sends it again when the page is reloaded.
 */
export function signInAgainPage(facts: SignInAgainPage): string {
  return cardPage({
    title: 'Sign in again',
    language: facts.language,
    wide: true,
    body: html`<div>
<h1>You are not signed in</h1>
<p class="lead">${
      facts.applicationName === undefined
        ? 'The application'
        : html`<strong>${facts.applicationName}</strong>`
    } has not received what you just sent. It is not lost, as long as you leave this tab open:</p>
</div>
<ol class="steps">
<li>Sign in. It opens in a new tab.</li>
<li>Come back to this tab.</li>
<li>Reload this page. If your browser asks whether to send the form again, say yes.</li>
</ol>
<div class="actions">
<a class="button" href="${linkUrl(facts.signInUrl)}" target="_blank" rel="noopener">Sign in (new tab)</a>
<button class="button quiet" type="button" data-reload hidden>Reload and send</button>
</div>
${forSupport({ code: 'SIGN_IN_REQUIRED', correlationId: facts.correlationId })}`,
  })
}

/** Shown in that new tab when the sign-in is done. */
export function signInDonePage(
  facts: {
    language?: string | undefined
    /** For those who do not find the other tab; the root of the host unless given. */
    applicationUrl?: string | undefined
  } = {},
): string {
  const { applicationUrl = '/' } = facts
  return cardPage({
    title: 'Signed in',
    language: facts.language,
    body: html`<div>
<h1>You are signed in</h1>
<p class="lead">Close this tab, go back to the one you came from, and reload it to send the form.</p>
</div>
<div class="actions"><a class="button quiet" href="${linkUrl(applicationUrl)}">Open the application here</a></div>`,
  })
}
