/**
 * The nouns of Sallyport, their schemas, and the decisions over them. Pure: no clock, no store, no
 * network, no randomness. Everything else depends on this package; it depends on nothing but zod and re2js.
 */
export * from './address.ts'
export * from './application.ts'
export * from './decide.ts'
export * from './pages/index.ts'
export * from './problems.ts'
export * from './session.ts'
export * from './sign-on/claims.ts'
export * from './sign-on/headers.ts'
export * from './sign-on/kerberos.ts'
export * from './sign-on/letter-case.ts'
export * from './sign-on/oidc.ts'
export * from './sign-on/oidc-endpoints.ts'
export * from './sign-on/on-premises.ts'
export * from './sign-on/own-urls.ts'
export * from './sign-on/password.ts'
export * from './sign-on/pattern.ts'
export * from './sign-on/saml.ts'
export * from './sign-on/saml-endpoints.ts'
export * from './snapshot.ts'
export * from './target.ts'
