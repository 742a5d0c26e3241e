import { z } from 'zod'
import { authorityProblem } from './reserved-host.ts'
import { headerSignOnFields, stripHeadersSchema } from './sign-on/headers.ts'
import { kerberosSignOnSchema } from './sign-on/kerberos.ts'
import { oidcSignOnSchema } from './sign-on/oidc.ts'
import { passwordSignOnSchema } from './sign-on/password.ts'
import { samlSignOnSchema } from './sign-on/saml.ts'

/**
 * One published web application, as an administrator writes it and as the store keeps it.
 *
 * Entra's names are in parentheses where the setting exists there.
 */

const hostLabel = /^(?!-)[a-z0-9-]{1,63}(?<!-)$/

/** A published host: DNS labels in lower case, IDN in its `xn--` form; a leading `*.` for a wildcard. */
export function isHostName(host: string): boolean {
  // A last label of digits would be an IPv4 address (WHATWG URL, "ends in a number").
  return (
    host.length <= 253 &&
    host.split('.').every((label) => hostLabel.test(label)) &&
    !/(?:^|\.)[0-9]+$/.test(host)
  )
}

function externalUrlProblem(value: string): string | undefined {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (!url) return 'must be an absolute URL such as https://hr.example.com/'
  if (url.protocol !== 'https:') return 'must begin with https://'
  const authority = authorityProblem(url)
  if (authority) return authority
  if (url.search || url.hash) return 'must not hold a query or a fragment'
  if (!isHostName(url.hostname.replace(/^\*\./, '')))
    return 'must name a host by its DNS name; only the leftmost label may be *'
  if (url.hostname.startsWith('*.') && url.hostname.split('.').length < 3)
    return 'must not be a wildcard for a whole top-level domain'
  return pathProblem(url, value)
}

function internalUrlProblem(value: string): string | undefined {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (!url) return 'must be an absolute URL such as http://hr.internal:8080/'
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    return 'must begin with http:// or https://'
  const authority = authorityProblem(url)
  if (authority) return authority
  if (url.search || url.hash) return 'must not hold a query or a fragment'
  if (url.hostname.replace(/^\*\./, '').includes('*'))
    return 'must name one host; only the leftmost label may be *'
  return pathProblem(url, value)
}

function logoutUrlProblem(value: string): string | undefined {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (!url) return 'must be an absolute URL such as https://hr.example.com/logout'
  if (url.protocol !== 'https:') return 'must begin with https://'
  const authority = authorityProblem(url)
  if (authority) return authority
  if (url.hash || value.includes('#')) return 'must not hold a fragment'
  if (value.length > 2_048) return 'must have at most 2048 characters'
  return undefined
}

function linkProblem(value: string): string | undefined {
  // Before URL() quietly takes white space and backslashes away: what was checked is what is shown.
  const url =
    /^https?:\/\/[^/\\?#]/i.test(value) && !/[\s\\\p{C}]/u.test(value) && URL.canParse(value)
      ? new URL(value)
      : undefined
  if (!url) return 'must be an absolute URL such as https://wiki.example.org/start, http or https'
  const authority = authorityProblem(url)
  if (authority) return authority
  if (value.length > 2_048) return 'must have at most 2048 characters'
  return undefined
}

function pathProblem(url: URL, value: string): string | undefined {
  if (!url.pathname.endsWith('/')) return 'must end with /'
  // What URL() quietly rewrites (dot segments, backslashes, spaces) would be matched differently
  // from how it was written.
  const written = value.slice(value.indexOf('//') + 2)
  const slash = written.indexOf('/')
  if ((slash < 0 ? '/' : written.slice(slash)) !== url.pathname)
    return 'must hold a plain path: no dot segments, backslashes or characters that need encoding'
  if (/%|;|\/\//.test(url.pathname)) return 'must hold a plain path: no %, ; or //'
  if (url.pathname.toLowerCase().startsWith('/.sallyport'))
    return 'must not lie under /.sallyport/, which is reserved'
  return undefined
}

function checked(problem: (value: string) => string | undefined) {
  return z.string().superRefine((value, context) => {
    const message = problem(value)
    if (message) context.addIssue({ code: 'custom', message })
  })
}

export const signOnSchema = z.discriminatedUnion('method', [
  z.strictObject({ method: z.literal('none') }),
  z.strictObject({ method: z.literal('headers'), ...headerSignOnFields }),
  kerberosSignOnSchema,
  passwordSignOnSchema,
  samlSignOnSchema,
  oidcSignOnSchema,
])

/** Descriptions go into the help, the reference and the JSON schema of objects. */
export const applicationSchema = z.strictObject({
  // It stands in a host too, where case is lost.
  id: z.uuid().toLowerCase().describe('Application ID; also the OpenID client ID.'),
  name: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'must be 1-63 of a-z, 0-9 and -')
    .describe('Short name in the command line and in logs; unique. 1-63 of a-z, 0-9 and -.'),
  displayName: z
    .string()
    .trim()
    .min(1)
    .max(256)
    .describe('What people see: the tile, the sign-in page.'),
  externalUrl: checked(externalUrlProblem).describe(
    "What people open: https://host[:port]/path/, ends with /. The port is the service's.",
  ),
  internalUrl: checked(internalUrlProblem).describe(
    'What the connector requests: http:// or https://, ends with /.',
  ),
  connectorGroup: z
    .string()
    .min(1)
    .max(64)
    .default('default')
    .describe('Name of the connector group that reaches the origin.'),
  preAuthentication: z
    .enum(['identity', 'passthrough'])
    .default('identity')
    .describe(
      'identity: no byte reaches the origin without a session. passthrough: everybody reaches it, there is no sign-in and no sign-on.',
    ),
  assignmentRequired: z
    .boolean()
    .default(true)
    .describe(
      'Only assigned users, and members of assigned groups at any depth, may use it. false: everybody who can sign in.',
    ),
  signOn: signOnSchema
    .default({ method: 'none' })
    .describe('How the origin learns who the person is.'),
  jwtAssertion: z
    .boolean()
    .default(false)
    .describe(
      'Whether each request of a signed-in person carries Sallyport-Jwt-Assertion, a token by which the origin can check who that is. Beside any method of sign-on.',
    ),
  stripHeaders: stripHeadersSchema,
  hostHeader: z
    .enum(['internal', 'external'])
    .default('internal')
    .describe('Which host the origin sees in Host: that of the internal or of the external URL.'),
  forwardedFor: z
    .enum(['append', 'replace'])
    .default('append')
    .describe(
      "Whether a client's own X-Forwarded-For is kept in front of its address, or dropped.",
    ),
  backendTimeoutMs: z
    .int()
    .min(1)
    .max(86_400_000)
    .default(85_000)
    .describe('Milliseconds that the origin may take to begin its answer.'),
  idleLimitMs: z
    .int()
    .min(60_000)
    .max(43_200_000)
    .optional()
    .describe(
      'Milliseconds without a request to the host, and without anything sent into an open WebSocket, after which people prove again who they are. Applications that share a host share the shortest. Default: no such limit.',
    ),
  validateBackendCertificate: z
    .boolean()
    .default(true)
    .describe("Whether the connector checks the origin's TLS certificate."),
  connectionAuthentication: z
    .boolean()
    .default(false)
    .describe(
      "Whether people sign in to the origin by NTLM or Negotiate themselves: then each connection of a client has one of its own to the origin, which nobody else's requests ever take.",
    ),
  allowMixedPreAuthentication: z
    .boolean()
    .default(false)
    .describe(
      'Accepts that this host or origin is also published with the other kind of pre-authentication, so that what one application protects another may leave open.',
    ),
  backChannelLogoutUrl: checked(logoutUrlProblem)
    .optional()
    .describe(
      'Is told when a session ends in which the application was used (OpenID Connect Back-Channel Logout 1.0). Default: none.',
    ),
  visible: z.boolean().default(true).describe('Whether people see a tile in the portal.'),
})

/** An application with every default filled in. */
export type Application = z.output<typeof applicationSchema>
/** An application as it may be written: what has a default may be left out. */
export type ApplicationInput = z.input<typeof applicationSchema>

/**
 * An application that is not published: a tile that leads elsewhere, such as to a service on the internet. It has no host,
 * no origin and no connector group, so that no request can ever be for it.
 */
export const linkedApplicationSchema = z.strictObject({
  id: applicationSchema.shape.id.describe('Application ID.'),
  name: applicationSchema.shape.name,
  displayName: applicationSchema.shape.displayName.describe('What people see: the tile.'),
  linkedUrl: checked(linkProblem).describe(
    'Where the tile leads: any https:// or http:// URL. Nothing on the way there passes through Sallyport.',
  ),
  assignmentRequired: z
    .boolean()
    .default(true)
    .describe(
      'Only assigned users, and members of assigned groups at any depth, see the tile. false: everybody who can sign in. Who may use the application is for the application to say.',
    ),
  visible: applicationSchema.shape.visible,
})

export type LinkedApplication = z.output<typeof linkedApplicationSchema>

export function isLinked(
  application: Application | LinkedApplication,
): application is LinkedApplication {
  return 'linkedUrl' in application
}
export type SignOn = z.output<typeof signOnSchema>
export type SignOnMethod = SignOn['method']

/** An application together with the users and groups assigned to it. */
export interface AssignedApplication {
  application: Application | LinkedApplication
  /** User and group IDs. */
  principalIds: readonly string[]
}
