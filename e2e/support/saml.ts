import assert from 'node:assert/strict'
import { parseServiceProviderMetadata } from '@sallyport/sso/saml'
import type { Scope, ServiceProviderOptions, System } from '@sallyport/testkit'

/** A kind of service provider: how it starts, and what it answers by. */
export interface ServiceProviderKind<T> {
  start(scope: Scope, options: ServiceProviderOptions): Promise<T>
  /** Below the external URL. */
  entityPath: string
  consumerPath: string
}

/** What an application is given to know Sallyport by. */
export async function readIdentityProviderMetadata(system: System, name: string): Promise<string> {
  const { id } = (await system.execute('app.show', { name })) as { id: string }
  const path = `/common/federationmetadata/2007-06/federationmetadata.xml?appid=${id}`
  const { status, body } = await system.client().get(system.url('login', path))
  assert.equal(status, 200, body)
  return body
}

/**
 * Starts the service provider of a published application; each side learns of the other from its metadata, as administrators
 * bring it.
 *
 * @param fields of the sign-on that metadata does not say
 */
export async function startServiceProvider<T extends { metadataUrl: string }>(
  scope: Scope,
  system: System,
  { name, port }: { name: string; port: number },
  kind: ServiceProviderKind<T>,
  fields: Record<string, unknown>,
): Promise<T> {
  const externalUrl = system.url(name)
  const first = {
    method: 'saml',
    entityId: `${externalUrl}${kind.entityPath}`,
    assertionConsumerServices: [{ url: `${externalUrl}${kind.consumerPath}` }],
  }
  await system.execute('app.update', { name, set: { signOn: first } })
  const metadata = await readIdentityProviderMetadata(system, name)
  const application = await kind.start(scope, { port, externalUrl, metadata })
  const own = await (await fetch(application.metadataUrl)).text()
  const { nameIdFormat: _, ...facts } = parseServiceProviderMetadata(own, Date.now())
  assert.equal(facts.entityId, first.entityId)
  const signOn = { ...first, ...facts, ...fields }
  await system.execute('app.update', { name, set: { signOn } })
  return application
}
