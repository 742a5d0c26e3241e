import type { Problem } from '../snapshot.ts'
import { type Html, html, linkUrl } from './html.ts'
import { personBar } from './person-bar.ts'
import { page, script } from './shell.ts'

/** The password of one application, of which the page knows all but the password. */
export interface KeptPassword {
  /** Short name of the application. */
  name: string
  displayName: string
  externalUrl: string
  state: 'usable' | 'missing' | 'moved' | 'lost' | 'refused'
  /** It is one that a group shares. */
  isShared: boolean
  updatedAt: number | undefined
  /** How many connectors can open it, or could; 0: it cannot be kept. */
  keepers: number
  /** What the person has just done here, or came for. */
  outcome?:
    | {
        kind: 'kept' | 'forgotten' | 'invalid' | 'needed'
        problems?: readonly Problem[]
        userName?: string
      }
    | undefined
}

export interface PasswordsPage {
  language?: string | undefined
  displayName: string
  userName: string
  passwords: readonly KeptPassword[]
  portalUrl: string
  signOutUrl: string
}

/** Passwords for applications that have a sign-in of their own. None is ever shown. */
export function passwordsPage(facts: PasswordsPage): string {
  const { passwords } = facts
  return page({
    title: 'Your passwords',
    language: facts.language,
    body: html`${personBar(facts, [
      [facts.portalUrl, 'Your applications'],
      [facts.signOutUrl, 'Sign out'],
    ])}
<main class="wall narrow" data-fresh>
<div>
<h1>Your passwords</h1>
<p class="lead">These applications have a sign-in of their own. Enter what you use there, and you are signed in when you open them. Nobody can read a password again, neither you nor an administrator.</p>
</div>
${
  passwords.length === 0
    ? html`<div class="empty"><h2>No passwords needed</h2><p>None of your applications has a sign-in of its own.</p></div>`
    : html`<ul class="rows">
${passwords.map(row)}
</ul>`
}
</main>${script}`,
  })
}

function row(kept: KeptPassword): Html {
  const { name, displayName, externalUrl, outcome } = kept
  const id = `app-${name}`
  return html`<li class="row tall" id="${name}">
<div>
<h2 id="${id}">${displayName}</h2>
<p class="detail"><a href="${linkUrl(externalUrl)}">${new URL(externalUrl).hostname}</a>. ${stateText(kept)}</p>
${outcome?.kind === 'kept' && html`<p class="note" role="status">Your password is kept. <a href="${linkUrl(externalUrl)}">Open ${displayName}</a></p>`}
${outcome?.kind === 'forgotten' && html`<p class="note" role="status">Your password is forgotten.</p>`}
${outcome?.kind === 'needed' && kept.state !== 'usable' && html`<p class="note" role="status">To open ${displayName}, enter what you use there.</p>`}
${outcome?.problems?.map(({ path, message }) => html`<p class="note bad" role="alert" id="${id}-problem">${problemText(path, message)}</p>`)}
</div>
${kept.keepers > 0 && (asksForOne(kept) ? form(kept, id) : folded(kept, id))}
</li>`
}

/** One that is kept is left alone by most who come here. */
function asksForOne({ state, outcome }: KeptPassword): boolean {
  return state !== 'usable' || outcome?.problems !== undefined
}

function folded(kept: KeptPassword, id: string): Html {
  const { displayName, isShared } = kept
  const [what, whole] = isShared
    ? ['Enter one of your own', `Enter one of your own for ${displayName}`]
    : ['Change or forget', `Change or forget the password for ${displayName}`]
  return html`<details>
<summary aria-label="${whole}">${what}</summary>
${form(kept, id)}
</details>`
}

function form(kept: KeptPassword, id: string): Html {
  const { name, displayName, outcome, state, isShared } = kept
  const described = (field: string) =>
    outcome?.problems?.some(({ path }) => path === field) &&
    html` aria-describedby="${id}-problem" aria-invalid="true"`
  return html`<form class="fields" method="post" aria-labelledby="${id}">
<input type="hidden" name="application" value="${name}">
<div class="pair">
<div class="field">
<label for="${id}-user">User name in ${displayName}</label>
<input id="${id}-user" name="userName" type="text" value="${outcome?.userName ?? ''}" required maxlength="256" autocomplete="off" autocapitalize="none" autocorrect="off" spellcheck="false"${described('userName')}>
</div>
<div class="field">
<label for="${id}-password">Password in ${displayName}</label>
<input id="${id}-password" name="password" type="password" required maxlength="1024" autocomplete="off"${described('password')}>
</div>
</div>
<p class="detail">${lossText(kept.keepers)}</p>
<div class="actions">
<button class="button" type="submit" name="action" value="keep">Keep</button>
${state !== 'missing' && !isShared && html`<button class="button quiet" type="submit" name="action" value="forget" formnovalidate aria-label="Forget the password for ${displayName}">Forget</button>`}
</div>
</form>`
}

function stateText({ state, isShared, updatedAt, keepers }: KeptPassword): Html | string {
  if (state === 'missing')
    return keepers > 0
      ? 'No password is kept yet.'
      : 'No password can be kept yet: an administrator has to approve a connector for it first.'
  const since = updatedAt !== undefined && html`, since ${instant(updatedAt)}`
  const whose = isShared ? 'A password that your group shares' : 'Your password'
  if (state === 'usable')
    return isShared
      ? html`${whose} is kept${since}. One of your own goes before it.`
      : html`${whose} is kept${since}.`
  if (state === 'refused')
    return html`<strong>The application did not take it.</strong> ${whose} is not sent again until it is changed.`
  if (state === 'moved')
    return html`<strong>The application has moved.</strong> ${whose} was kept for its old address only; enter it again.`
  return html`<strong>It is lost.</strong> None of the connectors that could open it is left; ${keepers > 0 ? 'enter it again.' : 'an administrator has to approve another one before you can enter it again.'}`
}

function lossText(keepers: number): string {
  return keepers === 1
    ? 'Only one connector can open it. If that is lost, so is the password, and you enter it again.'
    : `Only ${keepers} connectors can open it. If all of them are lost, so is the password, and you enter it again.`
}

function problemText(path: string, message: string): string {
  if (path === 'userName') return `The user name ${message}.`
  if (path === 'password') return `The password ${message}.`
  return 'The password cannot be kept yet: an administrator has to approve a connector for it first.'
}

/** In UTC: the server does not know where the reader is, and the page needs no script. */
function instant(at: number): Html {
  const text = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeZone: 'UTC' }).format(at)
  return html`<time datetime="${new Date(at).toISOString()}">${text}</time>`
}
