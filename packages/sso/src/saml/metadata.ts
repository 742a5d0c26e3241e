import { bindings, nameIdFormats, namespaces } from './names.ts'
import { certificateBody } from './signature.ts'
import { xml } from './xml.ts'

export interface IdentityProviderFacts {
  entityId: string
  singleSignOnUrl: string
  singleLogoutUrl: string
  /** PEM; the one that signs first. All of them are good while a key is changed. */
  certificates: readonly string[]
  wantsSignedRequests: boolean
}

/** What a service provider has to know of us, as a document (SAML metadata section 2.4.3). */
export function buildIdentityProviderMetadata(facts: IdentityProviderFacts): string {
  const { entityId, singleSignOnUrl, singleLogoutUrl, certificates, wantsSignedRequests } = facts
  return xml`<?xml version="1.0" encoding="UTF-8"?>
<EntityDescriptor xmlns="${namespaces.metadata}" entityID="${entityId}">
  <IDPSSODescriptor protocolSupportEnumeration="${namespaces.protocol}" WantAuthnRequestsSigned="${String(wantsSignedRequests)}">
${certificates.map(
  (pem) => xml`    <KeyDescriptor use="signing">
      <KeyInfo xmlns="${namespaces.signature}"><X509Data><X509Certificate>${certificateBody(pem)}</X509Certificate></X509Data></KeyInfo>
    </KeyDescriptor>
`,
)}    <SingleLogoutService Binding="${bindings.redirect}" Location="${singleLogoutUrl}"/>
    <SingleLogoutService Binding="${bindings.post}" Location="${singleLogoutUrl}"/>
${Object.values(nameIdFormats).map((format) => xml`    <NameIDFormat>${format}</NameIDFormat>\n`)}    <SingleSignOnService Binding="${bindings.redirect}" Location="${singleSignOnUrl}"/>
    <SingleSignOnService Binding="${bindings.post}" Location="${singleSignOnUrl}"/>
  </IDPSSODescriptor>
</EntityDescriptor>
`.text
}
