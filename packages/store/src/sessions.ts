import type { IdentitySession } from '@sallyport/domain'
import type { Kysely, Selectable } from 'kysely'
import { transitiveGroups } from './groups.ts'
import { limitParameters } from './parameters.ts'
import { prepare, type Slots } from './prepare.ts'
import type { Database } from './schema.ts'

/** A session as lists show it. Instants are epoch milliseconds. */
export interface SessionRow {
  id: string
  userId: string
  userName: string | undefined
  methods: readonly string[]
  signedInAt: number
  absoluteExpiresAt: number
  endedAt: number | undefined
  endReason: string | undefined
  clientAddress: string | undefined
  userAgent: string | undefined
  lastUsedAt: number | undefined
}

export async function createSession(
  db: Kysely<Database>,
  input: {
    id: string
    userId: string
    /** The user's epoch when the password was checked. */
    signInEpoch: number
    methods: readonly string[]
    signedInAt: number
    absoluteExpiresAt: number
    clientAddress: string | undefined
    userAgent: string | undefined
  },
): Promise<void> {
  await db
    .insertInto('session')
    .values({
      ...input,
      methods: JSON.stringify(input.methods),
      endedAt: null,
      endReason: null,
      clientAddress: input.clientAddress ?? null,
      userAgent: input.userAgent ?? null,
      lastUsedAt: input.signedInAt,
    })
    .execute()
}

/**
 * Whether the session still stands: not ended, before its absolute limit, its user enabled and with
 * the same epoch.
 */
export async function isLiveSession(
  db: Kysely<Database>,
  id: string,
  nowAt: number,
): Promise<boolean> {
  return (await findLive(db, { id, nowAt })).length > 0
}

/** A session that still stands, with the claims of its user as they are now. */
export async function findIdentitySession(
  db: Kysely<Database>,
  id: string,
  nowAt: number,
): Promise<IdentitySession | undefined> {
  const [row] = await findLive(db, { id, nowAt })
  if (!row) return undefined
  return {
    sessionId: row.id,
    userId: row.userId,
    signInEpoch: row.signInEpoch,
    methods: parseMethods(row.methods),
    signedInAt: row.signedInAt,
    absoluteExpiresAt: row.absoluteExpiresAt,
    claims: {
      objectId: row.userId,
      userName: row.userName,
      displayName: row.displayName,
      mail: row.mail ?? undefined,
      groups: await transitiveGroups(db, row.userId),
    },
  }
}

const findLive = prepare((db, value: Slots<{ id: string; nowAt: number }>) =>
  db
    .selectFrom('session')
    .innerJoin('user', 'user.id', 'session.userId')
    .select([
      'session.id',
      'session.userId',
      'session.signInEpoch',
      'session.methods',
      'session.signedInAt',
      'session.absoluteExpiresAt',
      'user.userName',
      'user.displayName',
      'user.mail',
    ])
    .where('session.id', '=', value('id'))
    .where('session.endedAt', 'is', null)
    .where('session.absoluteExpiresAt', '>', value('nowAt'))
    .where('user.enabled', '=', 1)
    .whereRef('user.signInEpoch', '=', 'session.signInEpoch'),
)

/**
 * @param reason `signed-out`, `signed-out-elsewhere`, `replaced`, `administrator`
 * @returns whose session it was, if it was this call that ended it
 */
export async function endSession(
  db: Kysely<Database>,
  id: string,
  reason: string,
  nowAt: number,
): Promise<string | undefined> {
  const row = await db
    .updateTable('session')
    .set({ endedAt: nowAt, endReason: reason })
    .where('id', '=', id)
    .where('endedAt', 'is', null)
    .returning('userId')
    .executeTakeFirst()
  return row?.userId
}

/** Addresses that a user has signed in from, of the sessions that are kept; the latest ones. */
export async function listAddresses(db: Kysely<Database>, userName: string): Promise<string[]> {
  const rows = await db
    .selectFrom('session')
    .innerJoin('user', 'user.id', 'session.userId')
    .select('session.clientAddress')
    .where('user.userName', '=', userName)
    .where('session.clientAddress', 'is not', null)
    .orderBy('session.signedInAt', 'desc')
    .limit(200)
    .execute()
  return [...new Set(rows.map(({ clientAddress }) => clientAddress!))]
}

/** Notes that the sessions were in use at the instant; one that says a later one is left as it is. */
export async function noteUse(
  db: Kysely<Database>,
  ids: readonly string[],
  at: number,
): Promise<void> {
  for (let start = 0; start < ids.length; start += limitParameters)
    await db
      .updateTable('session')
      .set({ lastUsedAt: at })
      .where('id', 'in', ids.slice(start, start + limitParameters))
      .where((eb) => eb.or([eb('lastUsedAt', 'is', null), eb('lastUsedAt', '<', at)]))
      .execute()
}

/** Sessions, newest first. `liveAt` leaves out those that do not stand at that instant. */
export async function listSessions(
  db: Kysely<Database>,
  filter: { userId?: string; liveAt?: number; limit?: number } = {},
): Promise<SessionRow[]> {
  let query = db
    .selectFrom('session')
    .leftJoin('user', 'user.id', 'session.userId')
    .selectAll('session')
    .select('user.userName')
    .orderBy('session.signedInAt', 'desc')
    .orderBy('session.id')
  if (filter.userId !== undefined) query = query.where('session.userId', '=', filter.userId)
  if (filter.liveAt !== undefined)
    query = query
      .where('session.endedAt', 'is', null)
      .where('session.absoluteExpiresAt', '>', filter.liveAt)
      .where('user.enabled', '=', 1)
      .whereRef('user.signInEpoch', '=', 'session.signInEpoch')
  if (filter.limit !== undefined) query = query.limit(filter.limit)
  return (await query.execute()).map(toSessionRow)
}

/** Removes sessions whose absolute limit is before the instant; lists need the recent ones. */
export async function deleteSessionsBefore(db: Kysely<Database>, beforeAt: number): Promise<void> {
  await db.deleteFrom('session').where('absoluteExpiresAt', '<', beforeAt).execute()
}

function toSessionRow(
  row: Selectable<Database['session']> & { userName: string | null },
): SessionRow {
  return {
    id: row.id,
    userId: row.userId,
    userName: row.userName ?? undefined,
    methods: parseMethods(row.methods),
    signedInAt: row.signedInAt,
    absoluteExpiresAt: row.absoluteExpiresAt,
    endedAt: row.endedAt ?? undefined,
    endReason: row.endReason ?? undefined,
    clientAddress: row.clientAddress ?? undefined,
    userAgent: row.userAgent ?? undefined,
    lastUsedAt: row.lastUsedAt ?? undefined,
  }
}

function parseMethods(json: string): string[] {
  return JSON.parse(json) as string[]
}
