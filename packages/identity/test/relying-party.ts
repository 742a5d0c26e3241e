import { execFileSync } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { createLocalJWKSet, type JWTPayload, jwtVerify } from 'jose'
import {
  type Browser,
  codeOf,
  type Fixture,
  loginOrigin,
  newAttempt,
  openSignIn,
  type Published,
  submitSignIn,
  tenantId,
} from './fixture.ts'

const issuer = `${loginOrigin}/${tenantId}/v2.0`

/** A certificate for `names`, signed by itself; openssl makes it. */
export function selfSigned(t: TestContext, names: string): { cert: string; key: string } {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-cert-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [key, cert] = [join(folder, 'key'), join(folder, 'cert')]
  const options = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=rp`
  execFileSync(
    'openssl',
    [...options.split(' '), '-keyout', key, '-out', cert, '-addext', `subjectAltName=${names}`],
    { stdio: 'ignore' },
  )
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
}

/** An application that signs people in by OpenID Connect itself, and has sessions of its own. */
export class RelyingParty {
  readonly #fixture: Fixture
  readonly published: Published
  readonly url: string
  /** Its sessions: users by `sid`. */
  readonly sessions = new Map<string, string>()
  /** Bodies that came to its logout endpoint. */
  readonly received: string[] = []
  /** Logout tokens that it believed. */
  readonly accepted: JWTPayload[] = []
  readonly errors: unknown[] = []
  /** What it answers with. */
  statusCode = 200
  #waiting: (() => void)[] = []

  private constructor(fixture: Fixture, url: string, published: Published) {
    this.#fixture = fixture
    this.url = url
    this.published = published
  }

  /** @param publish gives the application for the URL that the party listens on */
  static async start(
    t: TestContext,
    fixture: Fixture,
    certificate: { cert: string; key: string },
    publish: (logoutUrl: string) => Promise<Published>,
    host = 'rp.example.test',
  ): Promise<RelyingParty> {
    const server = createServer(certificate)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.after(() => {
      server.closeAllConnections()
      server.close()
    })
    const url = `https://${host}:${(server.address() as AddressInfo).port}/logout?a=b`
    const party = new RelyingParty(fixture, url, await publish(url))
    server.on('request', async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      party.received.push(`${request.method} ${request.url} ${body}`)
      if (party.statusCode === 200)
        await party.#logout(body).catch((error) => party.errors.push(error))
      response.statusCode = party.statusCode
      if (party.statusCode === 302) response.setHeader('location', 'https://127.0.0.1/elsewhere')
      response.end()
      for (const resolve of party.#waiting.splice(0)) resolve()
    })
    return party
  }

  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** The code flow, as the party does it: code, token request, ID token verified by the published keys. */
  async signIn(browser: Browser, userName: string): Promise<JWTPayload> {
    const attempt = newAttempt(this.published)
    const { url } = await openSignIn(this.#fixture, browser, attempt)
    const code = codeOf(await submitSignIn(browser, url, userName), attempt)
    const secret = createHmac('sha256', Buffer.alloc(32, 7)).update(this.published.id)
    const answer = await browser.post(
      `/${tenantId}/oauth2/v2.0/token`,
      {
        grant_type: 'authorization_code',
        client_id: this.published.id,
        client_secret: secret.digest('base64url'),
        redirect_uri: attempt.redirectUri,
        code,
        code_verifier: attempt.codeVerifier,
      },
      { accept: 'application/json' },
    )
    const { id_token: idToken } = JSON.parse(answer.body) as { id_token: string }
    const { payload } = await this.#verify(idToken)
    if (payload.nonce !== attempt.nonce) throw new Error('nonce')
    this.sessions.set(String(payload.sid), String(payload.sub))
    return payload
  }

  /** OpenID Connect Back-Channel Logout 1.0, section 2.6. */
  async #logout(body: string): Promise<void> {
    const { payload, protectedHeader } = await this.#verify(
      new URLSearchParams(body).get('logout_token') ?? '',
    )
    const events = payload.events as Record<string, unknown>
    if (protectedHeader.typ !== 'logout+jwt') throw new Error(`typ ${protectedHeader.typ}`)
    if (!events['http://schemas.openid.net/event/backchannel-logout']) throw new Error('events')
    if ('nonce' in payload) throw new Error('nonce in a logout token')
    if (this.accepted.some(({ jti }) => jti === payload.jti)) throw new Error('replay')
    if (this.sessions.get(String(payload.sid)) !== payload.sub) throw new Error('unknown session')
    this.sessions.delete(String(payload.sid))
    this.accepted.push(payload)
  }

  async #verify(token: string) {
    const { body } = await this.#fixture.browser().get('/common/discovery/v2.0/keys')
    return jwtVerify(token, createLocalJWKSet(JSON.parse(body)), {
      issuer,
      audience: this.published.id,
      algorithms: ['RS256'],
    })
  }
}
