import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Origin, System } from '@sallyport/testkit'
import { createRemoteJWKSet, customFetch as joseFetch, jwtVerify } from 'jose'
import * as client from 'openid-client'

interface Desk {
  idToken: string
  refreshToken: string
  sid: string
  userName: string
  refreshes: number
}

/**
 * An application in Node that signs people on with openid-client: it uses PKCE and refresh tokens, and a secret if it is given one. `/start`
 * takes up a sign-in that began at the provider, `/refresh` gets new tokens, `/revoke` gives them up, `/logout` ends everything, and
 * `/backchannel` hears of it.
 */
export class OpenidApplication {
  /** Its sessions, by its cookie. */
  readonly sessions = new Map<string, Desk>()
  /** What it did not believe. */
  readonly errors: unknown[] = []
  readonly #pending = new Map<string, { verifier: string; nonce: string; state: string }>()
  readonly #externalUrl: string
  readonly #configuration: client.Configuration
  readonly #keys: ReturnType<typeof createRemoteJWKSet>

  private constructor(
    externalUrl: string,
    configuration: client.Configuration,
    fetch: (url: string, options?: RequestInit) => Promise<Response>,
  ) {
    this.#externalUrl = externalUrl
    this.#configuration = configuration
    const { jwks_uri: uri } = configuration.serverMetadata()
    this.#keys = createRemoteJWKSet(new URL(uri!), { [joseFetch]: fetch })
  }

  /** @param origin answers as the application from now on */
  static async start(
    system: System,
    origin: Origin,
    options: { externalUrl: string; issuer: string; clientId: string; secret?: string },
  ): Promise<OpenidApplication> {
    const network = system.client()
    const fetch = async (url: string, init: RequestInit = {}): Promise<Response> => {
      const { status, headers, body } = await network.fetch(url, {
        method: init.method ?? 'GET',
        headers: Object.fromEntries(new Headers(init.headers)),
        ...(init.body == null ? {} : { body: String(init.body) }),
      })
      return new Response(body, { status, headers: headers as Record<string, string> })
    }
    const configuration = await client.discovery(
      new URL(options.issuer),
      options.clientId,
      undefined,
      options.secret === undefined ? client.None() : client.ClientSecretBasic(options.secret),
      { [client.customFetch]: fetch as client.CustomFetch },
    )
    const application = new OpenidApplication(options.externalUrl, configuration, fetch)
    origin.handler = (request, response) => {
      application.#answer(request, response).catch((error: unknown) => {
        application.errors.push(error)
        response.writeHead(500).end('failed')
      })
    }
    return application
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, this.#externalUrl)
    const cookie = /(?:^|; )desk=([\w-]+)/.exec(request.headers.cookie ?? '')?.[1] ?? ''
    const session = this.sessions.get(cookie)
    if (url.pathname === '/backchannel') await this.#hear(request, response)
    else if (url.pathname === '/callback') await this.#complete(url, cookie, response)
    else if (url.pathname === '/start') await this.#begin(url.searchParams.get('iss'), response)
    else if (!session) await this.#begin(null, response)
    else if (url.pathname === '/refresh') await this.#refresh(session, response)
    else if (url.pathname === '/revoke') await this.#revoke(session, response)
    else if (url.pathname === '/logout') this.#logout(cookie, session, response)
    else this.#show(session, response)
  }

  #show({ userName, refreshes }: Desk, response: ServerResponse): void {
    response.setHeader('content-type', 'text/html')
    response.end(
      `<!doctype html><title>Desk</title><h1>Desk of ${userName}</h1><p id="refreshes">${refreshes}</p><a href="/refresh">Refresh</a> <a href="/revoke">Revoke</a> <a href="/logout">Log out</a>`,
    )
  }

  async #begin(issuer: string | null, response: ServerResponse): Promise<void> {
    // OpenID Connect Core section 4: only a provider that it knows.
    if (issuer !== null && issuer !== this.#configuration.serverMetadata().issuer)
      throw new Error(`unknown issuer ${issuer}`)
    const id = randomUUID()
    const verifier = client.randomPKCECodeVerifier()
    const pending = { verifier, nonce: client.randomNonce(), state: client.randomState() }
    this.#pending.set(id, pending)
    const to = client.buildAuthorizationUrl(this.#configuration, {
      redirect_uri: new URL('callback', this.#externalUrl).href,
      scope: 'openid profile',
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      nonce: pending.nonce,
      state: pending.state,
    })
    redirect(response, to.href, id)
  }

  async #complete(url: URL, cookie: string, response: ServerResponse): Promise<void> {
    const { verifier, nonce, state } = this.#pending.get(cookie)!
    this.#pending.delete(cookie)
    const tokens = await client.authorizationCodeGrant(this.#configuration, url, {
      pkceCodeVerifier: verifier,
      expectedNonce: nonce,
      expectedState: state,
      idTokenExpected: true,
    })
    const claims = tokens.claims()!
    const id = randomUUID()
    this.sessions.set(id, {
      idToken: tokens.id_token!,
      refreshToken: tokens.refresh_token!,
      sid: String(claims.sid),
      userName: String(claims.preferred_username),
      refreshes: 0,
    })
    redirect(response, '/', id)
  }

  async #refresh(session: Desk, response: ServerResponse): Promise<void> {
    const tokens = await client.refreshTokenGrant(this.#configuration, session.refreshToken)
    const { sub } = tokens.claims()!
    const told = await client.fetchUserInfo(this.#configuration, tokens.access_token, sub)
    session.refreshToken = tokens.refresh_token!
    session.userName = String(told.preferred_username)
    session.refreshes += 1
    redirect(response, '/')
  }

  async #revoke({ refreshToken }: Desk, response: ServerResponse): Promise<void> {
    await client.tokenRevocation(this.#configuration, refreshToken)
    redirect(response, '/')
  }

  #logout(cookie: string, { idToken }: Desk, response: ServerResponse): void {
    this.sessions.delete(cookie)
    const to = client.buildEndSessionUrl(this.#configuration, {
      id_token_hint: idToken,
      post_logout_redirect_uri: this.#externalUrl,
    })
    redirect(response, to.href)
  }

  /** OpenID Connect Back-Channel Logout 1.0, section 2.6. */
  async #hear(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = ''
    for await (const chunk of request) body += chunk
    const { payload } = await jwtVerify(
      new URLSearchParams(body).get('logout_token') ?? '',
      this.#keys,
      {
        typ: 'logout+jwt',
        issuer: this.#configuration.serverMetadata().issuer,
        audience: this.#configuration.clientMetadata().client_id,
      },
    )
    if ('nonce' in payload || request.headers.cookie) throw new Error('no logout token')
    for (const [id, { sid }] of this.sessions) if (sid === payload.sid) this.sessions.delete(id)
    response.writeHead(200).end()
  }
}

function redirect(response: ServerResponse, location: string, cookie?: string): void {
  response.writeHead(303, {
    location,
    ...(cookie === undefined
      ? {}
      : { 'set-cookie': `desk=${cookie}; Path=/; Secure; HttpOnly; SameSite=Lax` }),
  })
  response.end()
}
