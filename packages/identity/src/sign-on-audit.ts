import type { IncomingMessage } from 'node:http'
import type { CompiledApplication, IdentitySession } from '@sallyport/domain'
import { audit, type Store } from '@sallyport/store'
import { visitOf } from './visit.ts'

/** Writes down that an application was told who somebody is, or why not. */
export function recordSignOn(
  db: Store['db'],
  request: IncomingMessage,
  kind: string,
  { application }: Pick<CompiledApplication, 'application'>,
  { userId, sessionId, claims }: IdentitySession,
  at: number,
  detail: Record<string, unknown> = {},
): Promise<void> {
  const { correlationId, clientAddress } = visitOf(request)
  return audit.recordAudit(db, {
    at,
    kind,
    actor: claims.userName,
    subject: application.id,
    detail: {
      name: application.name,
      userId,
      sessionId,
      ...detail,
      correlationId,
      clientAddress,
    },
  })
}
