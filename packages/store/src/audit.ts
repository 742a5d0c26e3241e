import { randomBytes } from 'node:crypto'
import { type Kysely, sql } from 'kysely'
import type { Database } from './schema.ts'

/**
 * Who did what to whom. `detail` never holds a secret. Events are added, and removed when they are older
 * than the retention; nothing here changes one, and nothing elsewhere touches their table.
 */
export interface AuditEvent {
  /** UUID of version 7: the order of ids is the order of recording. */
  id: string
  at: number
  /** Such as `user-disabled`. */
  kind: string
  actor: string
  subject: string
  detail: Record<string, unknown>
}

/** What is recorded; the id comes by itself. */
export interface AuditInput extends Omit<AuditEvent, 'id' | 'detail'> {
  detail?: Record<string, unknown>
}

export async function recordAudit(db: Kysely<Database>, event: AuditInput): Promise<void> {
  await db
    .insertInto('auditEvent')
    .values({
      id: toEventId(event.at),
      at: event.at,
      kind: event.kind,
      actor: event.actor,
      subject: event.subject,
      detail: JSON.stringify(event.detail ?? {}),
    })
    .execute()
}

export interface AuditFilter {
  kind?: string | undefined
  subject?: string | undefined
  /** What this person did, and what was done to them. `id` is missing when no user has that name now. */
  person?: { userName: string; id: string | undefined } | undefined
  /** At or after. */
  sinceAt?: number | undefined
  /** Before. */
  untilAt?: number | undefined
  /** The last event of the page before. */
  before?: { at: number; id: string } | undefined
  /** 100 unless given. */
  limit?: number | undefined
}

/** Newest first. */
export async function listAudit(
  db: Kysely<Database>,
  filter: AuditFilter = {},
): Promise<AuditEvent[]> {
  let query = db.selectFrom('auditEvent').selectAll().orderBy('at', 'desc').orderBy('id', 'desc')
  const { kind, subject, person, sinceAt, untilAt, before } = filter
  if (kind !== undefined) query = query.where('kind', '=', kind)
  if (subject !== undefined) query = query.where('subject', '=', subject)
  if (sinceAt !== undefined) query = query.where('at', '>=', sinceAt)
  if (untilAt !== undefined) query = query.where('at', '<', untilAt)
  if (person !== undefined) {
    const { userName, id } = person
    const actors = [userName, `cli:${userName}`]
    // Values in JSON of our own making stand between quotes, in which no quote stands alone.
    const named = [`"userName":${JSON.stringify(userName)}`, ...(id ? [JSON.stringify(id)] : [])]
    query = query.where((eb) =>
      eb.or([
        eb('actor', 'in', actors),
        ...(id === undefined ? [] : [eb('subject', '=', id)]),
        ...named.map((text) => sql<boolean>`detail like ${`%${toPattern(text)}%`} escape '\\'`),
      ]),
    )
  }
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

function toPattern(text: string): string {
  return text.replace(/[\\%_]/g, '\\$&')
}

/**
 * Removes what is older than the retention, and records that it did.
 *
 * @returns how many events were removed
 */
export async function trimAudit(
  db: Kysely<Database>,
  { beforeAt, nowAt }: { beforeAt: number; nowAt: number },
): Promise<number> {
  const { numDeletedRows } = await db
    .deleteFrom('auditEvent')
    .where('at', '<', beforeAt)
    .executeTakeFirst()
  const events = Number(numDeletedRows)
  if (events > 0)
    await recordAudit(db, {
      at: nowAt,
      kind: 'audit-trimmed',
      actor: 'service',
      subject: 'audit',
      detail: { events, beforeAt },
    })
  return events
}

/** When the oldest event was recorded. */
export async function findOldestAuditAt(db: Kysely<Database>): Promise<number | undefined> {
  const row = await db
    .selectFrom('auditEvent')
    .select('at')
    .orderBy('at')
    .limit(1)
    .executeTakeFirst()
  return row?.at
}

let lastId = { at: 0, count: 0 }

/**
 * Version 7 with a counter, so that events of one millisecond and of one process stay in order.
 *
 * @see RFC 9562 sections 5.7 and 6.2 (method 1)
 */
function toEventId(at: number): string {
  const count = at === lastId.at && lastId.count < 0xfff ? lastId.count + 1 : 0
  lastId = { at, count }
  const bytes = randomBytes(16)
  bytes.writeUIntBE(Math.max(0, at), 0, 6)
  bytes.writeUInt16BE(0x7000 | count, 6)
  bytes[8] = 0x80 | (bytes[8]! & 0x3f)
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
