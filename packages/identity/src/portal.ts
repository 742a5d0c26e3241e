import {
  type CompiledApplication,
  errorPage,
  isAssigned,
  isOidc,
  portalPage,
  type Session,
  type Snapshot,
  securityHeaders,
  toOidcStartUrl,
} from '@sallyport/domain'

/** An answer for a host that the gateway serves. */
export interface PageAnswer {
  statusCode: number
  /** Name, value, name, value ... */
  fields: string[]
  body: string
}

const fields = ['Content-Type', 'text/html; charset=utf-8', 'Cache-Control', 'no-store']

/** The tiles that one person may open, by name. Wildcards are left out: they have no one address. */
export function answerPortal(
  snapshot: Snapshot,
  session: Session,
  { loginOrigin, issuer }: { loginOrigin: string; issuer: string },
  notice?: string,
): PageAnswer {
  const mayUse = [...snapshot.applications.values()].filter(
    ({ application, assigned }) =>
      !application.assignmentRequired || session.principalIds.some((id) => assigned.has(id)),
  )
  const applications = mayUse
    .filter(
      (compiled) =>
        compiled.application.visible &&
        !compiled.externalHost.startsWith('*.') &&
        isAssigned(compiled, session.principalIds),
    )
    .map((compiled) => ({
      name: compiled.application.name,
      displayName: compiled.application.displayName,
      externalUrl: toTileUrl(compiled, issuer),
    }))
  const links = snapshot.links
    .filter((link) => link.application.visible && isAssigned(link, session.principalIds))
    .map(({ application: { name, displayName, linkedUrl } }) => ({
      name,
      displayName,
      externalUrl: linkedUrl,
      leadsElsewhere: true,
    }))
  const tiles = [...applications, ...links].sort((a, b) =>
    a.displayName.localeCompare(b.displayName, 'en'),
  )
  const { displayName, userName } = session.claims
  const body = portalPage({
    displayName,
    userName,
    applications: tiles,
    notice,
    sessionsUrl: `${loginOrigin}/sessions`,
    passwordsUrl: mayUse.some(({ application }) => application.signOn.method === 'password')
      ? `${loginOrigin}/passwords`
      : undefined,
    signOutUrl: '/.sallyport/signout',
  })
  return { statusCode: 200, fields: [...fields, ...securityHeaders()], body }
}

/** Where the application itself is opened, or where the sign-on begins that it wants to begin elsewhere. */
function toTileUrl(compiled: CompiledApplication, issuer: string): string {
  const { id, externalUrl, signOn } = compiled.application
  if (isOidc(compiled)) return toOidcStartUrl(compiled, issuer)
  return signOn.method === 'saml' && signOn.start === 'response'
    ? `${new URL(externalUrl).origin}/.sallyport/saml?app=${id}`
    : externalUrl
}

export function answerPortalNotFound(correlationId: string): PageAnswer {
  const body = errorPage({
    statusCode: 404,
    code: 'NOT_FOUND',
    title: 'There is nothing here',
    explanation: 'No page of the portal has this address.',
    correlationId,
    links: [{ href: '/', label: 'Your applications' }],
  })
  return { statusCode: 404, fields: [...fields, ...securityHeaders()], body }
}
