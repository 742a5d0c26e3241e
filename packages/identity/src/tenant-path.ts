/** What the OpenID provider calls the endpoint. */
export type Endpoint =
  | 'authorize'
  | 'resume'
  | 'token'
  | 'userinfo'
  | 'revocation'
  | 'logout'
  | 'discovery'
  | 'keys'

export interface ProviderPath {
  endpoint: Endpoint
  /** As a client would have asked for it: canonical tenant, Entra's spelling. */
  originalUrl: string
  /** As the provider's own router knows it. */
  url: string
  /** Of the pending sign-in, for `resume`. */
  interactionUid: string | undefined
}

const discoveryPath = '/.well-known/openid-configuration'

/** Paths below the tenant, lower case; `routes` of the provider holds the same. */
const endpoints: Readonly<Record<string, Endpoint>> = {
  '/oauth2/v2.0/authorize': 'authorize',
  '/oauth2/v2.0/token': 'token',
  '/oauth2/v2.0/userinfo': 'userinfo',
  '/oauth2/v2.0/revoke': 'revocation',
  '/oauth2/v2.0/logout': 'logout',
  '/oauth2/v2.0/logout/confirm': 'logout',
  '/oauth2/v2.0/logout/success': 'logout',
  '/discovery/v2.0/keys': 'keys',
  [`/v2.0${discoveryPath}`]: 'discovery',
}

export const providerRoutes = {
  authorization: '/oauth2/v2.0/authorize',
  token: '/oauth2/v2.0/token',
  userinfo: '/oauth2/v2.0/userinfo',
  revocation: '/oauth2/v2.0/revoke',
  end_session: '/oauth2/v2.0/logout',
  jwks: '/discovery/v2.0/keys',
}

/** Names of the one tenant in URLs, lower case: its GUID, its domain, and Entra's names for "any". */
export function tenantNames(tenantId: string, baseDomain: string): ReadonlySet<string> {
  return new Set([tenantId.toLowerCase(), baseDomain.toLowerCase(), 'common', 'organizations'])
}

/**
 * Reads an Entra-shaped URL: `/{tenant}/oauth2/v2.0/...`. Tenant and path are compared without case,
 * because MSAL lower-cases authorities. Whatever name the tenant is called by, the provider sees the
 * GUID, and so its answers hold GUID endpoints.
 *
 * @param target path and query as in the request line
 * @returns undefined when it is none of the provider's
 */
export function parseProviderPath(
  target: string,
  tenants: ReadonlySet<string>,
  tenantId: string,
): ProviderPath | undefined {
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  const query = mark < 0 ? '' : target.slice(mark)
  const slash = path.indexOf('/', 1)
  if (slash < 0 || !tenants.has(path.slice(1, slash).toLowerCase())) return undefined
  const rest = path.slice(slash)
  const folded = rest.toLowerCase()
  const resumed = /^\/oauth2\/v2\.0\/authorize\/([\w-]{1,64})$/i.exec(rest)
  const endpoint = resumed ? 'resume' : endpoints[folded]
  if (!endpoint) return undefined
  const url =
    (endpoint === 'discovery'
      ? discoveryPath
      : resumed
        ? `${providerRoutes.authorization}/${resumed[1]}`
        : folded) + query
  return { endpoint, originalUrl: `/${tenantId}${url}`, url, interactionUid: resumed?.[1] }
}
