import type { DenySet } from '@sallyport/domain'
import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'
import { atomically } from './transaction.ts'

/**
 * Everything that a gateway must know before it lets anybody in, of one moment. It is as long as the list of those who
 * lost access in the last hours, whatever the size of the directory.
 */
export function readDenySet(db: Kysely<Database>, nowAt: number): Promise<DenySet> {
  return atomically(db, async (db) => {
    const ended = await db
      .selectFrom('session')
      .select(['id as sessionId', 'endedAt as at'])
      .where('absoluteExpiresAt', '>', nowAt)
      .where('endedAt', 'is not', null)
      .execute()
    const epochs = await db
      .selectFrom('session')
      .innerJoin('user', 'user.id', 'session.userId')
      .select(['user.id as userId', 'user.signInEpoch'])
      .distinct()
      .where('session.absoluteExpiresAt', '>', nowAt)
      .whereRef('session.signInEpoch', '<', 'user.signInEpoch')
      .execute()
    const revoked = await db
      .selectFrom('connector')
      .select('id')
      .where('revokedAt', 'is not', null)
      .execute()
    return {
      endedSessions: ended.map(({ sessionId, at }) => ({ sessionId, at: at! })),
      epochs: epochs.map((epoch) => ({ ...epoch, at: nowAt })),
      revokedConnectorIds: revoked.map(({ id }) => id),
    }
  })
}
