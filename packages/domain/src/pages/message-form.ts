import { html, linkUrl } from './html.ts'
import { cardPage, script } from './shell.ts'

export interface MessageFormPage {
  language?: string | undefined
  purpose: 'sign-on' | 'sign-out'
  applicationName: string
  /** Where the form goes. */
  actionUrl: string
  /** Hidden fields. */
  fields: Readonly<Record<string, string>>
}

/** Carries a message of SAML or OpenID Connect to an application, or of one to us: by itself where there is script, and else by a button. */
export function messageFormPage(facts: MessageFormPage): string {
  const { purpose, applicationName, actionUrl, fields } = facts
  const isSignOn = purpose === 'sign-on'
  return cardPage({
    title: isSignOn ? 'Signing in' : 'Signing out',
    language: facts.language,
    body: html`<div>
<h1>${isSignOn ? 'Signing you in' : 'Signing you out'}</h1>
<p class="lead">${
      isSignOn ? 'On the way to' : 'Ending your session in'
    } <strong>${applicationName}</strong>. If nothing happens, continue yourself.</p>
</div>
<form class="actions" method="post" action="${linkUrl(actionUrl)}" data-submit>
${Object.entries(fields).map(
  ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
)}
<button class="button" type="submit">Continue</button>
</form>${script}`,
  })
}
