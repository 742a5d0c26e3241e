/**
 * Starts the real thing on loopback for tests: a service with its own store and authorities, connectors
 * that enrol by token, origins that remember what reached them, and clients with cookie jars.
 */

export { Apache } from './apache.ts'
export { type ApplicationPage, pageModules, writeApplicationPage } from './application-page.ts'
export { launchBrowser, newContext, newProfile, signInOnPage } from './browser.ts'
export {
  type Answer,
  Client,
  connectTls,
  navigation,
  type RequestOptions,
  sendRaw,
} from './client.ts'
export { type Form, readForm } from './form.ts'
export { MellonApplication, type ServiceProviderOptions } from './mellon-application.ts'
export { link, Namespace } from './namespaces.ts'
export { OpenidcApplication, type OpenidcOptions } from './openidc-application.ts'
export { Origin, type SeenRequest } from './origin.ts'
export { findFreePort } from './ports.ts'
export { Postgres, type PostgresDatabase, toDatabaseYaml } from './postgres.ts'
export { type ProcessSystem, startProcesses } from './processes.ts'
export { parseRaw, type RawAnswer, rawRequest } from './raw.ts'
export { lastFirst, type Scope } from './scope.ts'
export { ShibbolethApplication } from './shibboleth-application.ts'
export {
  domain,
  otherDomain,
  password,
  System,
  type SystemApplication,
  type SystemOptions,
  startSystem,
  submitSignIn,
} from './system.ts'
