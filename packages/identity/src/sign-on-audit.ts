import type { IncomingMessage } from 'node:http'
import type { CompiledApplication, IdentitySession } from '@sallyport/domain'
import { audit, type Store } from '@sallyport/store'
import { visitOf } from './visit.ts'

/** Writes down that an application was told who somebody is, or why not. */
export function recordSignOn(
  db: Store['db'],
  request: IncomingMessage,
  kind: string,
  compiled: Pick<CompiledApplication, 'application'>,
  session: IdentitySession,
  at: number,
  detail: Record<string, unknown> = {},
): Promise<void> {
  return audit.recordAudit(db, { at, ...toSignOnEvent(request, kind, compiled, session, detail) })
}

export function toSignOnEvent(
  request: IncomingMessage,
  kind: string,
  { application }: Pick<CompiledApplication, 'application'>,
  { userId, sessionId, claims }: IdentitySession,
  detail: Record<string, unknown>,
): Omit<audit.AuditInput, 'at'> {
  const { correlationId, clientAddress } = visitOf(request)
  return {
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
  }
}
