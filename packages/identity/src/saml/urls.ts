/** The addresses of the SAML identity provider, in Entra's shape. */
export interface SamlUrls {
  /** What we call ourselves. */
  entityId: string
  /** Sign-on and sign-out, both bindings. */
  service: string
  /** Where a sign-on goes on when the person has signed in. */
  resume: string
  /** Where the browser goes when a session has ended that SAML applications took part in. */
  logout: string
}

export function samlUrls(loginOrigin: string, tenantId: string): SamlUrls {
  const tenant = `${loginOrigin}/${tenantId}`
  return {
    entityId: `${tenant}/`,
    service: `${tenant}/saml2`,
    resume: `${tenant}/saml2/resume`,
    logout: `${tenant}/saml2/logout`,
  }
}
