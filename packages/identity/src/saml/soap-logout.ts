import { type Snapshot, toExternalUrl } from '@sallyport/domain'
import { buildLogoutRequest, type NameId, newMessageId, signXml, toSoap } from '@sallyport/sso/saml'
import type { logoutNotices, Store } from '@sallyport/store'
import type { Delivery } from '../oidc/delivery.ts'
import { readSigningKey } from './keys.ts'
import { isSaml } from './single-sign-on.ts'
import type { SamlUrls } from './urls.ts'

export interface SoapLogoutParts {
  db: Store['db']
  urls: SamlUrls
  snapshot(): Snapshot
  open(purpose: string, sealed: string): Buffer
  deliver: Delivery
  clock(): number
}

const timeoutMs = 10_000

/**
 * Tells a SAML application that a session has ended, without the person's browser: a signed logout request by SOAP (SAML bindings
 * section 3.2), through a connector. Of the answer only the status is looked at: the session has ended in any case.
 *
 * @returns false when the application wants to hear of nothing any more
 * @throws Error when the application did not take it
 */
export async function tellBySoap(
  parts: SoapLogoutParts,
  { applicationId, sessionIndex, nameId, nameIdFormat }: logoutNotices.SamlParticipant,
): Promise<boolean> {
  const { db, urls, snapshot, open, deliver, clock } = parts
  const compiled = snapshot().findApplicationById(applicationId)
  if (!isSaml(compiled)) return false
  const { logoutSoapUrl, entityId } = compiled.application.signOn
  if (logoutSoapUrl === undefined) return false
  const message = buildLogoutRequest(
    { issuer: urls.entityId, destination: logoutSoapUrl, nowAt: clock() },
    {
      id: newMessageId(),
      nameId: { value: nameId, format: nameIdFormat as NameId['format'] },
      sessionIndex,
      audience: entityId,
    },
  )
  const status = await deliver({
    applicationId,
    url: toExternalUrl(compiled, logoutSoapUrl),
    body: toSoap(signXml(message, await readSigningKey(db, open, applicationId))),
    contentType: 'text/xml; charset=utf-8',
    timeoutMs,
  })
  if (status !== 200) throw new Error(`the application answered ${status}`)
  return true
}
