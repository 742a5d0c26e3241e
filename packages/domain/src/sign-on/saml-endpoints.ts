import type { CompiledApplication } from '../snapshot.ts'
import { toExternalUrl, toInternalUrl } from './own-urls.ts'

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
  ]
  for (const [field, url] of endpoints)
    if (url !== undefined && !toExternalUrl(compiled, url).startsWith('https://'))
      problems.push({
        field: `signOn.${field}`,
        message: 'must begin with https://, or with the internal URL of the application',
      })
  return problems
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

/**
 * Whether a request only carries a logout message of ours to the application: its host and path are those of the
 * logout service, and there is a message in its query, or in a form where the application wants that.
 *
 * @param host of the request, lower case
 */
export function isLogoutDelivery(
  compiled: CompiledApplication,
  host: string,
  method: string,
  target: { path: string; query: string },
): boolean {
  const { signOn } = compiled.application
  if (signOn.method !== 'saml' || !signOn.singleLogoutService) return false
  const { url, responseUrl = url, binding } = signOn.singleLogoutService
  if (method !== (binding === 'post' ? 'POST' : 'GET')) return false
  const parameters = new URLSearchParams(target.query)
  if (method === 'GET' && !parameters.has('SAMLRequest') && !parameters.has('SAMLResponse'))
    return false
  return [url, responseUrl].some((each) => {
    const { hostname, pathname } = new URL(toExternalUrl(compiled, each))
    return hostname === host && pathname === target.path
  })
}
