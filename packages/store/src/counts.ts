import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'

/** How many there are of what people ask about. */
export async function countRows(
  db: Kysely<Database>,
  nowAt: number,
): Promise<{ users: number; groups: number; applications: number; sessions: number }> {
  const count = async (table: 'user' | 'group' | 'application') =>
    Number(
      (
        await db
          .selectFrom(table)
          .select((eb) => eb.fn.countAll().as('count'))
          .executeTakeFirstOrThrow()
      ).count,
    )
  const { count: sessions } = await db
    .selectFrom('session')
    .innerJoin('user', 'user.id', 'session.userId')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('session.endedAt', 'is', null)
    .where('session.absoluteExpiresAt', '>', nowAt)
    .where('user.enabled', '=', 1)
    .whereRef('user.signInEpoch', '=', 'session.signInEpoch')
    .executeTakeFirstOrThrow()
  return {
    users: await count('user'),
    groups: await count('group'),
    applications: await count('application'),
    sessions: Number(sessions),
  }
}
