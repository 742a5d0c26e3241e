import { randomUUID } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** Who did what to whom. `detail` never holds a secret. */
export interface AuditEvent {
  id: string
  at: number
  /** Such as `user-disabled`. */
  kind: string
  actor: string
  subject: string
  detail: Record<string, unknown>
}

export async function recordAudit(
  db: Kysely<Database>,
  event: {
    at: number
    kind: string
    actor: string
    subject: string
    detail?: Record<string, unknown>
  },
): Promise<void> {
  await db
    .insertInto('auditEvent')
    .values({
      id: randomUUID(),
      at: event.at,
      kind: event.kind,
      actor: event.actor,
      subject: event.subject,
      detail: JSON.stringify(event.detail ?? {}),
    })
    .execute()
}

/**
 * Newest first.
 *
 * @param filter `before` is the last event of the page before
 */
export async function listAudit(
  db: Kysely<Database>,
  filter: {
    kind?: string | undefined
    subject?: string | undefined
    before?: { at: number; id: string } | undefined
    limit?: number | undefined
  } = {},
): Promise<AuditEvent[]> {
  let query = db.selectFrom('auditEvent').selectAll().orderBy('at', 'desc').orderBy('id', 'desc')
  const { kind, subject, before } = filter
  if (kind !== undefined) query = query.where('kind', '=', kind)
  if (subject !== undefined) query = query.where('subject', '=', subject)
  if (before !== undefined)
    query = query.where((eb) =>
      eb.or([
        eb('at', '<', before.at),
        eb.and([eb('at', '=', before.at), eb('id', '<', before.id)]),
      ]),
    )
  const rows = await query.limit(filter.limit ?? 100).execute()
  return rows.map((row) => ({ ...row, detail: JSON.parse(row.detail) as Record<string, unknown> }))
}
