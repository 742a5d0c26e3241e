import {
  errorPage,
  isAssigned,
  portalPage,
  type Session,
  type Snapshot,
  securityHeaders,
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
  loginOrigin: string,
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
    .map(({ application: { id, name, displayName, externalUrl, signOn } }) => ({
      name,
      displayName,
      externalUrl:
        signOn.method === 'saml' && signOn.start === 'response'
          ? `${new URL(externalUrl).origin}/.sallyport/saml?app=${id}`
          : externalUrl,
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
