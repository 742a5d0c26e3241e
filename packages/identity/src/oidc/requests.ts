import {
  type IdentitySession,
  type OidcApplication,
  parseOidcClientId,
  toExternalUrl,
} from '@sallyport/domain'
import type Provider from 'oidc-provider'
import { type Client, errors, type KoaContextWithOIDC } from 'oidc-provider'
import type { FailureFacts } from '../failures.ts'
import { refusalFacts, type SignOnRefusal } from '../sign-on-refusal.ts'

/** The person is not signed on. People read a page of ours; who asked for no page is told by the protocol. */
export class SignOnRefused extends errors.AccessDenied {
  override readonly name = 'SignOnRefused'
  readonly reason: SignOnRefusal['reason']
  readonly facts: FailureFacts

  constructor(
    compiled: OidcApplication,
    session: IdentitySession | undefined,
    refusal: SignOnRefusal,
    isWithoutPage: boolean,
  ) {
    super(toErrorDescription(compiled, refusal))
    this.allow_redirect = isWithoutPage
    this.reason = refusal.reason
    this.facts = refusalFacts(compiled, session, refusal)
  }
}

/**
 * The same when the application's server asks. It is as if the person had lost access, so that it begins a sign-in, whose page
 * says more; nothing of what it holds is used up.
 */
export class TokenRefused extends errors.OIDCProviderError {
  override readonly name = 'TokenRefused'

  constructor(
    code: 'invalid_grant' | 'invalid_token',
    compiled: OidcApplication,
    refusal: SignOnRefusal,
  ) {
    super(code === 'invalid_token' ? 401 : 400, code)
    this.error_description = toErrorDescription(compiled, refusal)
  }
}

function toErrorDescription(
  { application: { name } }: OidcApplication,
  { claim, explanation }: SignOnRefusal,
): string {
  if (claim === undefined) return 'the application is not assigned to the person'
  const text = `the claim ${claim} of the application ${name} cannot be made for this person: ${explanation}; an administrator has to change it`
  // RFC 6749 section 4.1.2.1 has no other characters there.
  return text.replace(/[^ !#-[\]-~]/g, '?')
}

/**
 * Whether a client may revoke a token (RFC 7009 section 2.1): its own. One that keeps no secret may be anybody, and is not told that there is
 * such a token.
 *
 * @throws InvalidRequest
 */
export function mayRevoke(
  { clientId, clientAuthMethod }: Pick<Client, 'clientId' | 'clientAuthMethod'>,
  token: { clientId?: string | undefined },
): boolean {
  if (token.clientId === clientId) return true
  if (clientAuthMethod === 'none') return false
  throw new errors.InvalidRequest('the token was given to another client')
}

/** Whether script of a page there may use the token endpoint, and that of revocation: only that of the application, and if it can keep no secret. */
export function allowsOrigin(compiled: OidcApplication, origin: string): boolean {
  const { tokenEndpointAuthMethod, redirectUris } = compiled.application.signOn
  return (
    tokenEndpointAuthMethod === 'none' &&
    redirectUris.some((uri) => new URL(toExternalUrl(compiled, uri)).origin === origin)
  )
}

/**
 * Whether an application that asks to sign somebody out has an ID token of this very session, so that nobody need be asked: a link
 * on some page has none.
 *
 * @param subjectOf what the application calls a user
 */
export function isOwnHint(
  { entities, session, client }: KoaContextWithOIDC['oidc'],
  subjectOf: (userId: string) => string,
): boolean {
  const { payload } = (entities.IdTokenHint ?? {}) as { payload?: Record<string, unknown> }
  if (!payload || !client || parseOidcClientId(client.clientId) === undefined) return false
  const sid = session!.sidFor(client.clientId)
  if (sid === undefined || payload.sub !== subjectOf(session!.accountId!)) return false
  return payload.sid === sid
}

/**
 * Where an application wants somebody to go who is signed out already: only to what is named for it, so that it does not matter who
 * asks.
 */
export async function postLogoutUrl(
  { query }: Pick<KoaContextWithOIDC, 'query'>,
  provider: Provider,
): Promise<string | undefined> {
  const { post_logout_redirect_uri: uri, client_id: clientId, id_token_hint: hint, state } = query
  const id = clientId ?? (typeof hint === 'string' ? audienceOf(hint) : undefined)
  if (typeof uri !== 'string' || typeof id !== 'string') return undefined
  const client = await provider.Client.find(id)
  if (!client?.postLogoutRedirectUriAllowed(uri)) return undefined
  const url = new URL(uri)
  if (typeof state === 'string') url.searchParams.set('state', state)
  return url.href
}

function audienceOf(token: string): unknown {
  try {
    return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())?.aud
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
