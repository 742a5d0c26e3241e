import { createHash } from 'node:crypto'
import { Html, html } from './html.ts'
import { arches, brand, iconUrl } from './logo.ts'
import { css } from './style.ts'

export interface Shell {
  /** Without the product's name. */
  title: string
  /** BCP 47; `en` unless given. */
  language?: string | undefined
  /** Leaves out name and mark of the product. */
  anonymous?: boolean | undefined
  body: Html
}

// The only script there is, and nothing needs it. Reloading repeats the request that the page answered,
// and keeps the fragment that a link to the same page would drop. What cannot be copied is selected. A page
// that says what somebody may do is asked for again when Back revives it: they may have signed out since.
const scriptText = `for(const e of document.querySelectorAll('[data-reload]')){e.hidden=false;e.addEventListener('click',v=>{v.preventDefault();location.reload()})}
for(const e of document.querySelectorAll('[data-copy]')){e.hidden=false;e.addEventListener('click',async()=>{const o=e.nextElementSibling;try{await navigator.clipboard.writeText(e.dataset.copy);o.textContent='Copied'}catch{getSelection().selectAllChildren(e.previousElementSibling);o.textContent='Selected'}})}
for(const e of document.querySelectorAll('form[data-submit]'))e.submit()
if(document.querySelector('[data-fresh]'))addEventListener('pageshow',v=>{if(v.persisted)location.reload()})`

/** A whole document. Pages that need another layout than one card pass it as `body`. */
export function page({ title, language = 'en', anonymous = false, body }: Shell): string {
  return html`<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>${title}${!anonymous && ' · Sallyport'}</title>
<link rel="icon" href="${anonymous ? 'data:,' : iconUrl}">
<style>${new Html(css)}</style>
</head>
<body>
${body}
</body>
</html>
`.text
}

/** One card in the middle of the page, under the name of the product. */
export function cardPage(shell: Shell & { wide?: boolean; foot?: Html | undefined }): string {
  const body = html`${!shell.anonymous && arches}
<div class="stage">
${!shell.anonymous && html`<header>${brand}</header>`}
<main class="card${shell.wide ? ' wide' : ''}">
${shell.body}
</main>
${shell.foot && html`<footer class="foot">${shell.foot}</footer>`}
</div>`
  return page({ ...shell, body })
}

export const script = html`<script>${new Html(scriptText)}</script>`

function sha256(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}

const policy =
  `default-src 'none'; style-src ${sha256(css)}; script-src ${sha256(scriptText)}; img-src data:; ` +
  "base-uri 'none'; frame-ancestors 'none'"

/**
 * Header fields for every page of ours, as name, value, name, value ... The caller adds
 * `Content-Type` and `Cache-Control: no-store`.
 *
 * @param options `formAction: 'any'` for a page whose form is answered by a redirect that leaves
 *   the host: Chromium applies form-action to every redirect of a submission, also those that the
 *   application makes when the sign-in has long come back to it; `referrer: 'origin'` for one whose form goes to an
 *   application that wants to know whose page sends it
 */
export function securityHeaders(
  options: { formAction?: 'self' | 'any'; referrer?: 'origin' } = {},
): string[] {
  return [
    'Content-Security-Policy',
    options.formAction === 'any' ? policy : `${policy}; form-action 'self'`,
    'X-Content-Type-Options',
    'nosniff',
    // Not no-referrer: that makes the browser send `Origin: null` with our own forms.
    'Referrer-Policy',
    options.referrer === 'origin' ? 'strict-origin' : 'same-origin',
    'Cross-Origin-Opener-Policy',
    'same-origin',
    'Cross-Origin-Resource-Policy',
    'same-origin',
    'X-Frame-Options',
    'DENY',
  ]
}
