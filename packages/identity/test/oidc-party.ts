import { createHash, randomBytes } from 'node:crypto'
import type { ApplicationInput } from '@sallyport/domain'
import { applications, oidcSecrets } from '@sallyport/store'
import { createLocalJWKSet, type JWTPayload, jwtVerify } from 'jose'
import {
  type Answer,
  type Browser,
  type Fixture,
  loginOrigin,
  password,
  tenantId,
} from './fixture.ts'

export const issuer = `${loginOrigin}/${tenantId}/v2.0`
export const tokenPath = `/${tenantId}/oauth2/v2.0/token`
export const userinfoPath = `/${tenantId}/oauth2/v2.0/userinfo`
export const logoutUrl = `${loginOrigin}/${tenantId}/oauth2/v2.0/logout`

export interface Tokens {
  access_token: string
  id_token: string
  refresh_token?: string
  token_type: string
  expires_in: number
  scope: string
  error?: string
  error_description?: string
}

/** An application that is an OpenID client of its own, as far as the sign-in host is concerned. */
export class OidcParty {
  readonly fixture: Fixture
  readonly id: string
  readonly clientId: string
  readonly secret = randomBytes(32).toString('hex')
  readonly redirectUri: string

  private constructor(fixture: Fixture, name: string, id: string) {
    this.fixture = fixture
    this.id = id
    this.clientId = `oidc.${id}`
    this.redirectUri = `https://${name}.example.test/callback`
  }

  static async publish(
    fixture: Fixture,
    name: string,
    signOn: Record<string, unknown> = {},
    more: Partial<ApplicationInput> & { principalIds?: string[] } = {},
  ): Promise<OidcParty> {
    const { id } = fixture.publish(name, {
      assignmentRequired: false,
      signOn: {
        method: 'oidc',
        redirectUris: [`https://${name}.example.test/callback`],
        ...signOn,
      } as ApplicationInput['signOn'],
      ...more,
    })
    const party = new OidcParty(fixture, name, id)
    const { db } = fixture.store
    await applications.createApplication(
      db,
      fixture.snapshot().findApplicationById(id)!.application,
      1,
    )
    await party.addSecret(party.secret)
    return party
  }

  async addSecret(secret: string): Promise<string> {
    const id = randomBytes(6).toString('hex')
    await oidcSecrets.addOidcSecret(this.fixture.store.db, {
      id,
      applicationId: this.id,
      secretHash: createHash('sha256').update(secret).digest('hex'),
      createdAt: this.fixture.time.nowAt,
    })
    return id
  }

  authorizeUrl(changes: Record<string, string | undefined> = {}): string {
    const url = new URL(`${loginOrigin}/${tenantId}/oauth2/v2.0/authorize`)
    const parameters = {
      client_id: this.clientId,
      response_type: 'code',
      redirect_uri: this.redirectUri,
      scope: 'openid profile email',
      state: 's t&ä',
      nonce: 'n',
      ...changes,
    }
    for (const [name, value] of Object.entries(parameters))
      if (value !== undefined) url.searchParams.set(name, value)
    return url.href
  }

  /** Where the authorization endpoint sends the browser, after a password if one is asked for. */
  async authorize(
    browser: Browser,
    userName = 'ana',
    changes: Record<string, string | undefined> = {},
  ): Promise<Answer> {
    return walk(browser, this.authorizeUrl(changes), userName)
  }

  /** @returns the code */
  async signIn(
    browser: Browser,
    userName = 'ana',
    changes: Record<string, string | undefined> = {},
  ): Promise<string> {
    const { status, headers, body } = await this.authorize(browser, userName, changes)
    const url = new URL(headers.location ?? 'about:blank')
    const code = url.searchParams.get('code')
    if (`${url.origin}${url.pathname}` !== this.redirectUri || code === null)
      throw new Error(`no code: ${status} ${url} ${body.slice(0, 300)}`)
    return code
  }

  /** The token request, with the secret in the form unless it is changed. */
  async token(form: Record<string, string | undefined>, headers: Record<string, string> = {}) {
    const fields: Record<string, string> = {}
    const all = {
      grant_type: 'authorization_code',
      client_id: this.clientId,
      client_secret: this.secret,
      redirect_uri: this.redirectUri,
      ...form,
    }
    for (const [name, value] of Object.entries(all)) if (value !== undefined) fields[name] = value
    // From the application's server: no cookie, no browser.
    const answer = await this.fixture
      .browser()
      .post(tokenPath, fields, { accept: 'application/json', ...headers })
    const tokens = JSON.parse(answer.body) as Tokens
    return { ...answer, tokens }
  }

  async tokens(browser: Browser, userName = 'ana'): Promise<Tokens> {
    const { tokens, status, body } = await this.token({
      code: await this.signIn(browser, userName),
    })
    if (status !== 200) throw new Error(`no tokens: ${status} ${body}`)
    return tokens
  }

  refresh(token: string, form: Record<string, string | undefined> = {}) {
    return this.token({
      grant_type: 'refresh_token',
      redirect_uri: undefined,
      refresh_token: token,
      ...form,
    })
  }

  async userinfo(accessToken: string): Promise<{ status: number; claims: JWTPayload }> {
    const { status, body } = await this.fixture
      .browser()
      .get(userinfoPath, { authorization: `Bearer ${accessToken}`, accept: 'application/json' })
    return { status, claims: JSON.parse(body) as JWTPayload }
  }

  async verify(token: string) {
    const { body } = await this.fixture.browser().get('/common/discovery/v2.0/keys')
    return jwtVerify(token, createLocalJWKSet(JSON.parse(body)), {
      issuer,
      audience: this.clientId,
      algorithms: ['RS256'],
    })
  }
}

/** Follows redirects on the sign-in host, typing the password when asked. */
export async function walk(browser: Browser, url: string, userName = 'ana'): Promise<Answer> {
  let at = url
  let answer = await browser.get(at)
  for (let hops = 0; answer.status === 303 && hops < 10; hops += 1) {
    if (!answer.headers.location!.startsWith(`${loginOrigin}/`)) return answer
    at = answer.headers.location!
    answer = await browser.get(at)
    if (at.includes('/sign-in/') && answer.body.includes('name="password"'))
      answer = await browser.post(at, { userName, password })
  }
  return answer
}
