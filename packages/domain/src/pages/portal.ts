import { Html, html, linkUrl, outwardUrl } from './html.ts'
import { personBar } from './person-bar.ts'
import { page, script } from './shell.ts'

export interface PortalTile {
  name: string
  displayName: string
  externalUrl: string
  /** To another site, which need not know whence. */
  leadsElsewhere?: boolean
}

export interface PortalPage {
  language?: string | undefined
  displayName: string
  userName: string
  /** Those assigned and visible, in the order to show. */
  applications: readonly PortalTile[]
  /** A sentence above the tiles. */
  notice?: string | undefined
  /** Where the person sees where else they are signed in. */
  sessionsUrl: string
  /** Where the person enters passwords for applications; absent when none needs one. */
  passwordsUrl?: string | undefined
  signOutUrl: string
}

// Neither the address of the portal nor a handle on its window goes there.
const elsewhere = new Html(' rel="noopener noreferrer" referrerpolicy="no-referrer"')

export function portalPage(facts: PortalPage): string {
  return page({
    title: 'Your applications',
    language: facts.language,
    body: html`${personBar(facts, [
      [facts.passwordsUrl, 'Your passwords'],
      [facts.sessionsUrl, 'Your sessions'],
      [facts.signOutUrl, 'Sign out'],
    ])}
<main class="wall" data-fresh>
<h1>Your applications</h1>
${facts.notice !== undefined && html`<p class="note" role="status">${facts.notice}</p>`}
${
  facts.applications.length === 0
    ? html`<div class="empty"><h2>No applications yet</h2><p>When an administrator assigns you one, it appears here.</p></div>`
    : html`<ul class="tiles">
${facts.applications.map(
  ({
    name,
    displayName,
    externalUrl,
    leadsElsewhere = false,
  }) => html`<li><a class="tile" href="${leadsElsewhere ? outwardUrl(externalUrl) : linkUrl(externalUrl)}"${leadsElsewhere && elsewhere}>
<span class="monogram tint${tint(name)}" aria-hidden="true">${monogram(displayName)}</span>
<span><b>${displayName}</b><span class="host">${new URL(externalUrl).hostname}</span></span>
</a></li>`,
)}
</ul>`
}
</main>${script}`,
  })
}

/** One of eight, the same for a name every time. */
function tint(name: string): number {
  let sum = 0
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)!) % 65_521
  return sum % 8
}

function monogram(displayName: string): string {
  const [first = '?', second] = displayName.match(/[\p{L}\p{N}]+/gu) ?? []
  const letters = second ? [...first][0]! + [...second][0]! : [...first].slice(0, 2).join('')
  return letters.toUpperCase()
}
