import { createHash } from 'node:crypto'
import { Html, html } from './html.ts'
import { arches, brand, iconUrl } from './logo.ts'
import { css } from './style.ts'

export interface Shell {
  /** Without the product's name. */
  title: string
  /** BCP 47; `en` unless given. */
  language?: string | undefined
  body: Html
}

// The only script there is. It shows buttons that repeat the request the page answered; without
// script the text says how to reload.
const script = `for(const b of document.querySelectorAll('button[data-reload]')){b.hidden=false;b.addEventListener('click',()=>location.reload())}`

/** A whole document. Pages that need another layout than one card pass it as `body`. */
export function page({ title, language = 'en', body }: Shell): string {
  return html`<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>${title} · Sallyport</title>
<link rel="icon" href="${iconUrl}">
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
  const body = html`${arches}
<div class="stage">
<header>${brand}</header>
<main class="card${shell.wide ? ' wide' : ''}">
${shell.body}
</main>
${shell.foot && html`<footer class="foot">${shell.foot}</footer>`}
</div>`
  return page({ ...shell, body })
}

export const reloadScript = html`<script>${new Html(script)}</script>`

function sha256(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}

const policy =
  `default-src 'none'; style-src ${sha256(css)}; script-src ${sha256(script)}; img-src data:; ` +
  "base-uri 'none'; frame-ancestors 'none'"

/**
 * Header fields for every page of ours, as name, value, name, value ... The caller adds
 * `Content-Type` and `Cache-Control: no-store`.
 *
 * @param options `formAction: 'any'` for a page whose form is answered by a redirect that leaves
 *   the host: Chromium applies form-action to every redirect of a submission, also those that the
 *   application makes when the sign-in has long come back to it
 */
export function securityHeaders(options: { formAction?: 'self' | 'any' } = {}): string[] {
  return [
    'Content-Security-Policy',
    options.formAction === 'any' ? policy : `${policy}; form-action 'self'`,
    'X-Content-Type-Options',
    'nosniff',
    // Not no-referrer: that makes the browser send `Origin: null` with our own forms.
    'Referrer-Policy',
    'same-origin',
    'Cross-Origin-Opener-Policy',
    'same-origin',
    'Cross-Origin-Resource-Policy',
    'same-origin',
    'X-Frame-Options',
    'DENY',
  ]
}
