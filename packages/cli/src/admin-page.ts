import type { IncomingMessage, ServerResponse } from 'node:http'
import { cardPage, html, linkUrl, securityHeaders } from '@sallyport/domain'

/**
 * What stands on the administration host: how to administer. Needs no sign-in, because it says nothing about this
 * system.
 */
export function answerAdminHost(
  request: IncomingMessage,
  response: ServerResponse,
  portalUrl: string,
): void {
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  const isFound = request.url === '/' && isRead
  response.writeHead(isFound ? 200 : 404, [
    'Content-Type',
    'text/html; charset=utf-8',
    'Cache-Control',
    'no-store',
    ...securityHeaders(),
  ])
  response.end(isFound ? adminPage(portalUrl) : notFoundPage())
}

function adminPage(portalUrl: string): string {
  return cardPage({
    title: 'Administration',
    body: html`<h1>Administration</h1>
<p>Users, applications and connectors are managed with the <code>sallyport</code> command on the machine that runs the service.</p>
<p>Begin with <code>sallyport --help</code>.</p>
<div class="actions"><a class="button quiet" href="${linkUrl(portalUrl)}">Your applications</a></div>`,
  })
}

function notFoundPage(): string {
  return cardPage({
    title: 'There is nothing here',
    body: html`<div>
<h1>There is nothing here</h1>
<p class="lead">No page of the administration has this address.</p>
</div>
<div class="actions"><a class="button" href="/">Administration</a></div>`,
  })
}
