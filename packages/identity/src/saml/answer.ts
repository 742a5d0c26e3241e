import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Snapshot } from '@sallyport/domain'
import type { Store } from '@sallyport/store'
import type Provider from 'oidc-provider'
import type { BrowserBinding } from '../browser-binding.ts'
import type { FailureCode, FailureFacts } from '../failures.ts'
import type { FormHandOver } from '../form-hand-over.ts'
import type { LogoutPasses } from './logout-passes.ts'
import type { SamlUrls } from './urls.ts'

/** What an endpoint of SAML answers with. */
export type SamlAnswer =
  | { kind: 'page'; body: string; formAction?: 'any' }
  | { kind: 'redirect'; location: string }
  | ({ kind: 'failure'; code: FailureCode } & FailureFacts)

export interface SamlParts {
  db: Store['db']
  provider: Provider
  urls: SamlUrls
  tenantId: string
  loginOrigin: string
  portalOrigin: string
  snapshot(): Snapshot
  open(purpose: string, sealed: string): Buffer
  binding: BrowserBinding
  /** What persistent names are derived with. */
  pairwiseKey: Buffer
  logoutPasses: LogoutPasses
  handOver: FormHandOver
  endSession(sessionId: string, reason: string): Promise<string | undefined>
  clock(): number
}

/** The session that the browser's cookie names, live or not. */
export async function findSessionId(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<string | undefined> {
  const { accountId, uid } = await provider.Session.get(provider.createContext(request, response))
  return accountId === undefined ? undefined : uid
}
