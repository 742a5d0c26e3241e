import { z } from 'zod'
import { authorityProblem } from '../reserved-host.ts'
import { claimFields } from './claims.ts'

/**
 * Sign-on by OpenID Connect: the application is a relying party, and Sallyport its provider. The standard's names are in
 * parentheses.
 */

const uri = z
  .string()
  .max(2_048)
  .superRefine((value, context) => {
    const message = uriProblem(value)
    if (message) context.addIssue({ code: 'custom', message })
  })

/** It is compared letter by letter, so it has to be written in the one way in which applications and browsers write it. */
function uriProblem(value: string): string | undefined {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (!url || !/^https?:$/.test(url.protocol))
    return 'must be an absolute URL such as https://hr.example.com/callback'
  const authority = authorityProblem(url)
  if (authority) return authority
  if (value.includes('#')) return 'must not hold a fragment'
  if (value.includes('*')) return 'must be one URL, without *'
  if (url.href !== value) return `must be written as ${url.href}`
  if (/%|;|\\|\/\//.test(url.pathname)) return 'must hold a plain path: no %, ;, \\ or //'
  return undefined
}

/** Claims that say what a token is and for whom, and not who the person is. */
const reservedClaims: ReadonlySet<string> = new Set(
  'iss sub aud exp nbf iat jti nonce auth_time acr amr azp at_hash c_hash s_hash sid events cnf act scope client_id _claim_names _claim_sources'.split(
    ' ',
  ),
)

const name = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
  // JSON has no objection; readers of it do.
  .refine((claim) => claim !== '__proto__' && !reservedClaims.has(claim), {
    error: 'is a claim that the provider itself sets; choose another name',
  })
  .describe('Name of the claim.')

const claimSchema = z.union([
  z.strictObject({ name, ...claimFields }),
  z.strictObject({
    name,
    value: z.union([z.string().max(1_024), z.boolean()]).describe('A constant.'),
  }),
])

const uris = z
  .array(uri)
  .max(50)
  .refine((all) => new Set(all).size === all.length, { error: 'must not name one URL twice' })

/** Fields of sign-on by OpenID Connect, without the one that says that it is this. */
export const oidcSignOnFields = {
  redirectUris: uris
    .min(1)
    .describe(
      'Where sign-ins end (redirect_uris), below the external or the internal URL. Compared letter by letter.',
    ),
  postLogoutRedirectUris: uris
    .default([])
    .describe('Where people may go after signing out (post_logout_redirect_uris).'),
  backChannelLogoutUri: uri
    .optional()
    .describe(
      'Is told, through the connector, when a session ends in which the application was used (backchannel_logout_uri). Default: none.',
    ),
  initiateLoginUri: uri
    .optional()
    .describe(
      'What the tile in the portal opens, so that the application begins a sign-in (initiate_login_uri). Default: the application itself.',
    ),
  tokenEndpointAuthMethod: z
    .enum(['client_secret_basic', 'client_secret_post', 'none'])
    .default('client_secret_basic')
    .describe(
      'How the application proves that it is the one (token_endpoint_auth_method). none: it can keep no secret, and has to use PKCE.',
    ),
  subject: z
    .enum(['pairwise', 'objectId'])
    .default('pairwise')
    .describe(
      'What sub holds. pairwise: another value for each application. objectId: the same for all of them. Neither ever changes.',
    ),
  claims: z
    .array(claimSchema)
    .max(100)
    .refine((all) => new Set(all.map((claim) => claim.name)).size === all.length, {
      error: 'must not name one claim twice',
    })
    .default([])
    .describe(
      'What the application is told of the person, whatever scope it asks for, beside the standard claims of profile and email.',
    ),
  refreshTokens: z
    .boolean()
    .default(false)
    .describe('Whether the application gets refresh tokens. They end with the session.'),
}

export const oidcSignOnSchema = z.strictObject({ method: z.literal('oidc'), ...oidcSignOnFields })

export type OidcSignOn = z.output<typeof oidcSignOnSchema>
export type OidcClaim = z.output<typeof claimSchema>
