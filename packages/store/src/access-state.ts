import type { DenySet } from '@sallyport/domain'
import type { Kysely } from 'kysely'
import type { Database } from './schema.ts'
import { atomically } from './transaction.ts'

/**
 * Everything that a gateway must know before it lets anybody in, of one moment. It is as long as the list of those who
 * lost access in the last hours and that of connectors, whatever the size of the directory.
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
    const connectors = await db
      .selectFrom('connector')
      .innerJoin('connectorGroup', 'connectorGroup.id', 'connector.groupId')
      .select(['connector.id as connectorId', 'connectorGroup.name as connectorGroup', 'revokedAt'])
      .execute()
    const [revoked, others] = [true, false].map((isRevoked) =>
      connectors.filter(({ revokedAt }) => (revokedAt !== null) === isRevoked),
    ) as [typeof connectors, typeof connectors]
    return {
      endedSessions: ended.map(({ sessionId, at }) => ({ sessionId, at: at! })),
      epochs: epochs.map((epoch) => ({ ...epoch, at: nowAt })),
      revokedConnectorIds: revoked.map(({ connectorId }) => connectorId),
      connectorGroups: others.map(({ connectorId, connectorGroup }) => ({
        connectorId,
        connectorGroup,
      })),
    }
  })
}
