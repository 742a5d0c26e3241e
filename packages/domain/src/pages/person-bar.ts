import { type Html, html, linkUrl } from './html.ts'
import { brand } from './logo.ts'

/**
 * The head of a page of somebody who is signed in.
 *
 * @param links a URL and its label, in order; one without a URL is left out
 */
export function personBar(
  { displayName, userName }: { displayName: string; userName: string },
  links: readonly (readonly [url: string | undefined, label: string])[],
): Html {
  return html`<header class="bar">
${brand}
<div class="person">
<div><b>${displayName}</b><span class="name">${userName}</span></div>
${links.map(([url, label]) => url !== undefined && html`<a href="${linkUrl(url)}">${label}</a>\n`)}</div>
</header>`
}
