import type { CompiledApplication, Snapshot } from '../snapshot.ts'
import { isOwnUrl, ownUrlMessage, toExternalUrl, toInternalUrl } from './own-urls.ts'

/** What is wrong with an application's SAML settings beside its other ones. */
export function samlProblems(
  compiled: CompiledApplication,
  /** Names of applications by entity ID, of those looked at before; this one is added. */
  entityIds: Map<string, string>,
): { field: string; message: string }[] {
  const { signOn, name } = compiled.application
  if (signOn.method !== 'saml') return []
  const problems: { field: string; message: string }[] = []
  const other = entityIds.get(signOn.entityId)
  if (other !== undefined)
    problems.push({
      field: 'signOn.entityId',
      message: `is already used by the application ${other}`,
    })
  else entityIds.set(signOn.entityId, name)
  const { singleLogoutService: logout } = signOn
  const endpoints: [field: string, url: string | undefined][] = [
    ...signOn.assertionConsumerServices.map(({ url }, index): [string, string] => [
      `assertionConsumerServices.${index}.url`,
      url,
    ]),
    ['singleLogoutService.url', logout?.url],
    ['singleLogoutService.responseUrl', logout?.responseUrl],
    ['logoutSoapUrl', signOn.logoutSoapUrl],
  ]
  for (const [field, url] of endpoints)
    if (url !== undefined && !toExternalUrl(compiled, url).startsWith('https://'))
      problems.push({
        field: `signOn.${field}`,
        message: 'must begin with https://, or with the internal URL of the application',
      })
  return problems
}

/** What is wrong with an application's SAML settings, in the configuration as a whole. */
export function samlOwnUrlProblems(
  compiled: CompiledApplication,
  snapshot: Snapshot,
): { field: string; message: string }[] {
  const { signOn } = compiled.application
  if (signOn.method !== 'saml' || signOn.logoutSoapUrl === undefined) return []
  // The service asks there itself, through the connector, and nobody else's application.
  return isOwnUrl(compiled, snapshot, signOn.logoutSoapUrl)
    ? []
    : [{ field: 'signOn.logoutSoapUrl', message: ownUrlMessage(compiled) }]
}

/** Applications by what they call themselves; one that is told only its internal URL calls itself by that. */
export function indexEntityIds(
  applications: Iterable<CompiledApplication>,
): Map<string, CompiledApplication> {
  const exact = new Map<string, CompiledApplication>()
  const translated = new Map<string, CompiledApplication>()
  for (const compiled of applications) {
    const { signOn } = compiled.application
    if (signOn.method !== 'saml') continue
    exact.set(signOn.entityId, compiled)
    translated.set(toExternalUrl(compiled, signOn.entityId), compiled)
    translated.set(toInternalUrl(compiled, signOn.entityId), compiled)
  }
  return new Map([...translated, ...exact])
}

const logoutPass = 'sallyport-logout'

/** The address of a message of sign-out, with the pass by which it gets through the gateway. */
export function addLogoutPass(url: string, pass: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}${logoutPass}=${pass}`
}

/**
 * Takes the pass off a query, where it is last: no application sees it.
 *
 * @param query with its `?`, or empty
 * @returns undefined when there is none
 */
export function splitLogoutPass(query: string): { query: string; pass: string } | undefined {
  const at = query.lastIndexOf(`${logoutPass}=`)
  if (at < 1 || (at > 1 && query[at - 1] !== '&')) return undefined
  return { query: query.slice(0, at - 1), pass: query.slice(at + logoutPass.length + 1) }
}
