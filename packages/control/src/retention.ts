import { audit } from '@sallyport/store'
import type { Db } from './configuration.ts'

const dayMs = 86_400_000

/**
 * Removes audit events that are older than the retention, a day's worth at a time: the removal is an event itself.
 *
 * @returns how many were removed
 */
export async function keepAuditShort(db: Db, retentionMs: number, nowAt: number): Promise<number> {
  const oldestAt = await audit.findOldestAuditAt(db)
  if (oldestAt === undefined || oldestAt >= nowAt - retentionMs - dayMs) return 0
  return db
    .transaction()
    .execute((inner) => audit.trimAudit(inner, { beforeAt: nowAt - retentionMs, nowAt }))
}
