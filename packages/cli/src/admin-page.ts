import type { IncomingMessage, ServerResponse } from 'node:http'
import { cardPage, html, securityHeaders } from '@sallyport/domain'

const body = cardPage({
  title: 'Administration',
  body: html`<h1>Administration</h1>
<p>Users, applications and connectors are managed with the <code>sallyport</code> command on the machine that runs the service.</p>
<p>Begin with <code>sallyport --help</code>.</p>`,
})

/** What stands on the administration host: how to administer. Needs no sign-in, because it says nothing about this system. */
export function answerAdminHost(request: IncomingMessage, response: ServerResponse): void {
  const found = request.url === '/' && (request.method === 'GET' || request.method === 'HEAD')
  response.writeHead(found ? 200 : 404, [
    'Content-Type',
    'text/html; charset=utf-8',
    ...securityHeaders(),
  ])
  response.end(found ? body : '')
}
