import type { CompiledApplication, Snapshot } from '../snapshot.ts'
import type { OidcSignOn } from './oidc.ts'
import { isOwnUrl, ownUrlMessage, toExternalUrl } from './own-urls.ts'

export type OidcApplication = CompiledApplication & { application: { signOn: OidcSignOn } }

export function isOidc(compiled: CompiledApplication | undefined): compiled is OidcApplication {
  return compiled?.application.signOn.method === 'oidc'
}

const prefix = 'oidc.'

/**
 * The client ID of an application that signs people on by OpenID Connect itself. It is another client than the one that
 * the gateway signs people in with, so that nothing given to one of the two is worth anything at the other.
 */
export function toOidcClientId(applicationId: string): string {
  return prefix + applicationId
}

/** @returns the ID of the application whose own client it is; undefined for every other client ID */
export function parseOidcClientId(clientId: string): string | undefined {
  return clientId.startsWith(prefix) ? clientId.slice(prefix.length) : undefined
}

/** The application that a client of either kind belongs to. */
export function applicationIdOf(clientId: string): string {
  return parseOidcClientId(clientId) ?? clientId
}

/** Every URL that the settings name, with the field that it stands in. */
function urisOf(signOn: OidcSignOn): [field: string, uri: string][] {
  const { redirectUris, postLogoutRedirectUris, backChannelLogoutUri, initiateLoginUri } = signOn
  return [
    ...redirectUris.map((uri, index): [string, string] => [`redirectUris.${index}`, uri]),
    ...postLogoutRedirectUris.map((uri, index): [string, string] => [
      `postLogoutRedirectUris.${index}`,
      uri,
    ]),
    ...(backChannelLogoutUri === undefined
      ? []
      : [['backChannelLogoutUri', backChannelLogoutUri] as [string, string]]),
    ...(initiateLoginUri === undefined
      ? []
      : [['initiateLoginUri', initiateLoginUri] as [string, string]]),
  ]
}

/** What is wrong with an application's OpenID Connect settings, in the configuration as a whole. */
export function oidcProblems(
  compiled: CompiledApplication,
  snapshot: Snapshot,
): { field: string; message: string }[] {
  if (!isOidc(compiled)) return []
  return urisOf(compiled.application.signOn)
    .filter(([, uri]) => !isOwnUrl(compiled, snapshot, uri))
    .map(([field]) => ({
      field: `signOn.${field}`,
      message: ownUrlMessage(compiled),
    }))
}

/**
 * Whether a sign-in, or a sign-out, may end at the URI: it is one of those that an administrator has named, letter by letter
 * (RFC 9700 section 2.1).
 */
export function oidcRedirectAllowed(
  compiled: OidcApplication,
  kind: 'redirectUris' | 'postLogoutRedirectUris',
  uri: string,
): boolean {
  return compiled.application.signOn[kind].some((named) => toExternalUrl(compiled, named) === uri)
}

/** What a tile opens (OpenID Connect Core section 4). @param issuer of the provider */
export function toOidcStartUrl(compiled: OidcApplication, issuer: string): string {
  const { signOn, externalUrl } = compiled.application
  if (signOn.initiateLoginUri === undefined) return externalUrl
  const url = new URL(toExternalUrl(compiled, signOn.initiateLoginUri))
  url.searchParams.set('iss', issuer)
  url.searchParams.set('target_link_uri', externalUrl)
  return url.href
}
