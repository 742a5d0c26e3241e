import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Scope } from '@sallyport/testkit'

/**
 * An application with a sign-in form of its own, as many are: a cookie and a token that belong together before anybody
 * is signed in, another cookie after, and redirects between its pages.
 */
export class FormApplication {
  readonly server: Server
  /** Passwords by user name. */
  readonly accounts = new Map<string, string>()
  /** What the form was sent with. */
  readonly attempts: { userName: string; password: string; contentType: string }[] = []
  /** Paths and cookies of all requests. */
  readonly requests: { method: string; url: string; headers: IncomingMessage['headers'] }[] = []
  /** Another form than its own. */
  form: ((token: string) => string) | undefined
  /** Waits before it answers the form. */
  beforeAnswer: (() => Promise<void>) | undefined
  /** Takes requests before the application does; true: it has answered. */
  intercept: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined
  readonly #sessions = new Map<string, string>()
  readonly #tokens = new Map<string, string>()

  private constructor() {
    this.server = createServer((request, response) => {
      void this.#handle(request, response)
    })
  }

  static async start(scope: Scope): Promise<FormApplication> {
    const application = new FormApplication()
    await new Promise<void>((resolve) => application.server.listen(0, '127.0.0.1', resolve))
    scope.after(() => {
      application.server.closeAllConnections()
      application.server.close()
    })
    return application
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`
  }

  endSessions(): void {
    this.#sessions.clear()
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url, headers } = request
    this.requests.push({ method: method!, url: url!, headers })
    let body = ''
    for await (const chunk of request) body += chunk
    if (this.intercept?.(request, response)) return
    const cookies = new URLSearchParams((headers.cookie ?? '').replaceAll('; ', '&'))
    const userName = this.#sessions.get(cookies.get('session') ?? '')
    const { pathname } = new URL(url!, this.url)
    const html = (status: number, text: string, more: Record<string, string | string[]> = {}) =>
      response.writeHead(status, { 'content-type': 'text/html; charset=utf-8', ...more }).end(text)
    const redirect = (to: string, more: Record<string, string | string[]> = {}) =>
      response.writeHead(302, { location: to, ...more }).end()
    if (pathname === '/login' && method === 'POST') {
      const form = new URLSearchParams(body)
      const login = form.get('login') ?? ''
      this.attempts.push({
        userName: login,
        password: form.get('pass') ?? '',
        contentType: headers['content-type'] ?? '',
      })
      await this.beforeAnswer?.()
      if (this.#tokens.get(cookies.get('before') ?? '') !== form.get('token'))
        return void html(403, 'the token is wrong')
      if (this.accounts.get(login) !== form.get('pass') || form.get('pass') === null)
        return void html(200, `<p>Wrong password.</p>${this.#form(form.get('token')!)}`)
      const id = randomBytes(8).toString('hex')
      this.#sessions.set(id, login)
      return void redirect('/', {
        'set-cookie': [`session=${id}; Path=/; HttpOnly`, 'before=; Path=/; Max-Age=0'],
      })
    }
    if (pathname === '/login') {
      const before = randomBytes(8).toString('hex')
      const token = randomBytes(8).toString('hex')
      this.#tokens.set(before, token)
      return void html(200, this.#form(token), { 'set-cookie': `before=${before}; Path=/` })
    }
    if (pathname === '/logout') {
      this.#sessions.delete(cookies.get('session') ?? '')
      return void redirect('/login')
    }
    if (pathname === '/data') {
      if (!userName) return void response.writeHead(401).end('{}')
      return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true}')
    }
    if (!userName) return void redirect(`/login?next=${encodeURIComponent(url!)}`)
    html(200, `<h1>Hello ${userName}</h1><p>${pathname}</p>`)
  }

  #form(token: string): string {
    return (
      this.form?.(token) ??
      `<form action="/login" method="post"><input type="hidden" name="token" value="${token}">
<input name="login"><input type="password" name="pass"><button name="go" value="1">Sign in</button></form>`
    )
  }
}
