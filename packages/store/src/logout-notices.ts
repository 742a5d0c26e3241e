import { randomUUID } from 'node:crypto'
import { parseOidcClientId } from '@sallyport/domain'
import type { Kysely } from 'kysely'
import type { OidcPayload } from './oidc-model.ts'
import { listSamlSessions } from './saml.ts'
import type { Database } from './schema.ts'

/** An application that is to be told that a session has ended. Instants are epoch milliseconds. */
export interface LogoutNotice {
  id: string
  clientId: string
  userId: string
  /** What the application knows the session by; of a SAML application more than that, as JSON. */
  sid: string
  endedAt: number
  /** How often it was tried, this time included. */
  attempts: number
}

/** A SAML application that took part in a session, and what it knows the person by. */
export interface SamlParticipant {
  applicationId: string
  sessionIndex: string
  nameId: string
  nameIdFormat: string
}

const samlPrefix = 'saml.'

/** @returns undefined for a notice to an OpenID client */
export function parseSamlNotice({
  clientId,
  sid,
}: Pick<LogoutNotice, 'clientId' | 'sid'>): SamlParticipant | undefined {
  if (!clientId.startsWith(samlPrefix)) return undefined
  return { applicationId: clientId.slice(samlPrefix.length), ...JSON.parse(sid) }
}

export type Authorizations = Record<string, { sid?: string; grantId?: string }>

/**
 * Keeps who is to be told that these sessions of the provider end.
 *
 * @param byBrowser whether the person's browser is there, and tells the SAML applications that can be told by it
 */
export async function keepLogoutNotices(
  db: Kysely<Database>,
  sessions: readonly OidcPayload[],
  endedAt: number,
  byBrowser = false,
): Promise<void> {
  await keepSamlNotices(db, sessions, endedAt, byBrowser)
  const ends = sessions.flatMap(({ accountId, authorizations }) =>
    Object.entries((authorizations ?? {}) as Authorizations).flatMap(([clientId, { sid }]) =>
      accountId === undefined || sid === undefined ? [] : [{ clientId, userId: accountId, sid }],
    ),
  )
  if (ends.length === 0) return
  const rows = await db
    .selectFrom('application')
    .select(['id', 'definition'])
    .where('definition', 'like', '%"backChannelLogoutUr%')
    .execute()
  const definitions = new Map(rows.map(({ id, definition }) => [id, JSON.parse(definition)]))
  for (const end of ends) {
    const own = parseOidcClientId(end.clientId)
    const definition = definitions.get(own ?? end.clientId)
    const isTold =
      own === undefined
        ? definition?.backChannelLogoutUrl !== undefined
        : definition?.signOn?.backChannelLogoutUri !== undefined
    if (isTold)
      await db
        .insertInto('logoutNotice')
        .values({ id: randomUUID(), ...end, endedAt, attempts: 0, nextAt: endedAt })
        .execute()
  }
}

async function keepSamlNotices(
  db: Kysely<Database>,
  sessions: readonly OidcPayload[],
  endedAt: number,
  byBrowser: boolean,
): Promise<void> {
  const rows = await db
    .selectFrom('application')
    .select(['id', 'definition'])
    .where('definition', 'like', '%"logoutSoapUrl"%')
    .execute()
  const told = new Set(
    rows
      .filter(({ definition }) => {
        const { signOn } = JSON.parse(definition)
        if (signOn.method !== 'saml' || signOn.logoutSoapUrl === undefined) return false
        return !byBrowser || signOn.singleLogoutService === undefined
      })
      .map(({ id }) => id),
  )
  if (told.size === 0) return
  for (const { uid, accountId } of sessions) {
    if (uid === undefined || accountId === undefined) continue
    for (const participant of await listSamlSessions(db, uid)) {
      const { applicationId, sessionIndex, nameId, nameIdFormat } = participant
      if (!told.has(applicationId)) continue
      await db
        .insertInto('logoutNotice')
        .values({
          id: randomUUID(),
          clientId: samlPrefix + applicationId,
          userId: accountId,
          sid: JSON.stringify({ sessionIndex, nameId, nameIdFormat }),
          endedAt,
          attempts: 0,
          nextAt: endedAt,
        })
        .execute()
    }
  }
}

/**
 * Takes those whose time has come, so that no other process sends them meanwhile. Whoever takes one deletes or postpones it; one
 * of a process that has died is there again when its time is up.
 *
 * @param untilAt for so long they are the caller's
 * @param exceptClientIds of whom none is taken
 */
export async function takeLogoutNotices(
  db: Kysely<Database>,
  nowAt: number,
  untilAt: number,
  limit: number,
  exceptClientIds: readonly string[] = [],
): Promise<LogoutNotice[]> {
  let query = db
    .selectFrom('logoutNotice')
    .select(['id', 'nextAt'])
    .where('nextAt', '<=', nowAt)
    .orderBy('nextAt')
    .orderBy('id')
    .limit(limit)
  if (exceptClientIds.length > 0) query = query.where('clientId', 'not in', exceptClientIds)
  const due = await query.execute()
  const taken: LogoutNotice[] = []
  for (const { id, nextAt } of due) {
    const row = await db
      .updateTable('logoutNotice')
      .set((eb) => ({ nextAt: untilAt, attempts: eb('attempts', '+', 1) }))
      .where('id', '=', id)
      .where('nextAt', '=', nextAt)
      .returningAll()
      .executeTakeFirst()
    if (row) taken.push(row)
  }
  return taken
}

export async function postponeLogoutNotice(
  db: Kysely<Database>,
  id: string,
  nextAt: number,
): Promise<void> {
  await db.updateTable('logoutNotice').set({ nextAt }).where('id', '=', id).execute()
}

export async function deleteLogoutNotice(db: Kysely<Database>, id: string): Promise<void> {
  await db.deleteFrom('logoutNotice').where('id', '=', id).execute()
}

export function listLogoutNotices(db: Kysely<Database>): Promise<LogoutNotice[]> {
  return db.selectFrom('logoutNotice').selectAll().orderBy('nextAt').orderBy('id').execute()
}

/** When the next one is to be sent; undefined when there is none. */
export async function nextLogoutNoticeAt(db: Kysely<Database>): Promise<number | undefined> {
  const row = await db
    .selectFrom('logoutNotice')
    .select('nextAt')
    .orderBy('nextAt')
    .limit(1)
    .executeTakeFirst()
  return row?.nextAt
}
