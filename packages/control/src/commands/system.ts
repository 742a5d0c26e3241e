import { audit, connectors, countRows, oidcModel, sessions, users } from '@sallyport/store'
import { z } from 'zod'
import { type CommandDefinition, change, nothing, query, reference } from '../command.ts'
import { refuse } from '../errors.ts'
import { findUser } from './references.ts'

export const systemCommands: Record<string, CommandDefinition> = {
  'session.list': query(
    'Lists the sessions in force, newest first.',
    z
      .strictObject({
        user: reference.optional(),
        limit: z.int().min(1).max(10_000).default(1_000),
      })
      .prefault({}),
    async ({ db, clock }, input) => {
      const userId =
        input.user === undefined ? undefined : (await findUser(db, input.user, 'user')).id
      const rows = await sessions.listSessions(db, {
        liveAt: clock(),
        limit: input.limit,
        ...(userId === undefined ? {} : { userId }),
      })
      return rows.map((row) => ({
        userName: row.userName ?? null,
        signedInAt: row.signedInAt,
        lastUsedAt: row.lastUsedAt ?? null,
        absoluteExpiresAt: row.absoluteExpiresAt,
        methods: row.methods,
        clientAddress: row.clientAddress ?? null,
        userAgent: row.userAgent ?? null,
        id: row.id,
      }))
    },
  ),

  'session.end': change(
    'Ends a session: its owner must sign in again everywhere.',
    z.strictObject({ sessionId: reference }),
    async ({ db, nowAt, publish, audit }, { sessionId }) => {
      const userId = await sessions.endSession(db, sessionId, 'administrator', nowAt)
      if (userId === undefined)
        throw refuse('NOT_FOUND', {
          path: 'sessionId',
          message: 'there is no such session in force; see: sallyport session list',
        })
      // Its grants and tokens would outlive it.
      await oidcModel.deleteOidcSession(db, sessionId, nowAt)
      publish([{ kind: 'session-ended', sessionId, at: nowAt }])
      const userName = (await users.findUserById(db, userId))?.userName
      await audit('session-ended', sessionId, { reason: 'administrator', userId, userName })
    },
  ),

  'session.end-all': change(
    'Ends every session of a user, who may sign in again.',
    z.strictObject({ userName: reference }),
    async ({ db, nowAt, publish, audit }, { userName }) => {
      const { id } = await findUser(db, userName, 'userName')
      publish((await users.endAllSessions(db, id, nowAt))!)
      await audit('sessions-ended', id)
    },
  ),

  'audit.list': query(
    'Lists changes and sign-ins: what, when and by whom, newest first.',
    z
      .strictObject({
        kind: z.string().max(64).optional(),
        subject: z.string().max(256).optional(),
        /** Name or ID; what they did and what was done to them. */
        user: reference.optional(),
        sinceAt: z.int().optional(),
        untilAt: z.int().optional(),
        before: z.strictObject({ at: z.int(), id: z.string() }).optional(),
        limit: z.int().min(1).max(1_000).default(100),
      })
      .prefault({}),
    async ({ db }, { user, ...filter }) => {
      if (user === undefined) return audit.listAudit(db, filter)
      // Somebody who was deleted is still asked about.
      const known = (await users.findUserById(db, user)) ?? (await users.findUserByName(db, user))
      const person = { userName: known?.userName ?? users.toUserName(user), id: known?.id }
      return audit.listAudit(db, { ...filter, person })
    },
  ),

  status: query('Says what the service is doing.', nothing, async (context) => {
    const { db, clock, facts, configuration, countTunnels, statusFacts } = context
    const connectorRows = await connectors.listConnectors(db)
    const inForce = connectorRows.filter(({ revokedAt }) => revokedAt === undefined)
    const counts = await countRows(db, clock())
    return {
      tenantId: facts.tenantId,
      baseDomain: facts.baseDomain,
      port: facts.port,
      configurationVersion: configuration.snapshot.version,
      applications: counts.applications,
      users: counts.users,
      groups: counts.groups,
      connectors: {
        enrolled: inForce.length,
        online: inForce.filter(({ id }) => countTunnels(id) > 0).length,
        revoked: connectorRows.length - inForce.length,
      },
      sessions: counts.sessions,
      ...statusFacts(),
    }
  }),
}
