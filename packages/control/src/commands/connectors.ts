import { randomUUID } from 'node:crypto'
import { applications, connectorGroups, connectors, enrolmentTokens } from '@sallyport/store'
import { z } from 'zod'
import { type CommandDefinition, change, nothing, query, reference } from '../command.ts'
import { hashEnrolmentToken, makeEnrolmentToken } from '../enrolment-token.ts'
import { refuse } from '../errors.ts'
import { findConnectorGroup } from './references.ts'

const minuteMs = 60_000

const connectorGroup = z.strictObject({ name: reference })

export const connectorCommands: Record<string, CommandDefinition> = {
  'connector-group.create': change(
    'Creates a connector group.',
    z.strictObject({
      name: z.string().regex(/^[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?$/, {
        error: 'must be 1-64 letters, digits, spaces, dots, _ and -',
      }),
    }),
    async ({ db, nowAt, audit }, { name }) => {
      const created = await connectorGroups.createConnectorGroup(db, { name }, nowAt)
      if (!created)
        throw refuse('CONFLICT', {
          path: 'name',
          message: `there is a connector group "${name}" already; choose another name`,
        })
      await audit('connector-group-created', created.id, { name })
      return { name: created.name, id: created.id, createdAt: created.createdAt }
    },
  ),

  'connector-group.list': query(
    'Lists connector groups by name.',
    nothing,
    async ({ db, countTunnels }) => {
      const all = await connectors.listConnectors(db)
      return (await connectorGroups.listConnectorGroups(db)).map(({ id, name, createdAt }) => {
        const own = all.filter((one) => one.groupId === id && one.revokedAt === undefined)
        const online = own.filter((one) => countTunnels(one.id) > 0)
        return { name, connectors: own.length, online: online.length, id, createdAt }
      })
    },
  ),

  'connector-group.delete': change(
    'Deletes a connector group that no application and no connector uses.',
    connectorGroup,
    async ({ db, audit }, input) => {
      const { id, name } = await findConnectorGroup(db, input.name, 'name')
      const inUse = (message: string) => refuse('CONFLICT', { path: 'name', message })
      const used = (await applications.listApplications(db))
        .filter(({ application }) => application.connectorGroup === name)
        .map(({ application }) => application.name)
      if (used.length > 0)
        throw inUse(`is used by the applications ${used.join(', ')}; move them to another first`)
      const members = (await connectors.listConnectors(db))
        .filter((one) => one.groupId === id && one.revokedAt === undefined)
        .map((one) => one.name)
      if (members.length > 0)
        throw inUse(`holds the connectors ${members.join(', ')}; revoke them first`)
      await connectorGroups.deleteConnectorGroup(db, id)
      await audit('connector-group-deleted', id, { name })
    },
  ),

  'connector.list': query(
    'Lists connectors by name.',
    nothing,
    async ({ db, countTunnels, clock }) =>
      (await connectors.listConnectors(db)).map((one) => ({
        name: one.name,
        connectorGroup: one.groupName,
        status: statusOf(one, countTunnels(one.id), clock()),
        tunnels: countTunnels(one.id),
        lastSeenAt: one.lastSeenAt ?? null,
        certificateNotAfterAt: one.certificateNotAfterAt,
        id: one.id,
        enrolledAt: one.enrolledAt,
        revokedAt: one.revokedAt ?? null,
      })),
  ),

  'connector.revoke': change(
    'Revokes a connector, by name or ID: its tunnels close, and it never comes back.',
    z.strictObject({ connector: reference }),
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, name } = await findConnector(input.connector)
      await connectors.revokeConnector(db, id, nowAt)
      publish([{ kind: 'connector-revoked', connectorId: id, at: nowAt }])
      await audit('connector-revoked', id, { name })

      async function findConnector(text: string): Promise<connectors.Connector> {
        const byId = await connectors.findConnectorById(db, text)
        const all = byId ? [byId] : await connectors.findConnectorsByName(db, text)
        const inForce = all.filter(({ revokedAt }) => revokedAt === undefined)
        const say = (code: 'NOT_FOUND' | 'CONFLICT', message: string) =>
          refuse(code, { path: 'connector', message })
        if (inForce.length > 1)
          throw say(
            'CONFLICT',
            `there are ${inForce.length} connectors "${text}"; give the ID of one: ${inForce.map(({ id }) => id).join(', ')}`,
          )
        if (inForce[0]) return inForce[0]
        throw all.length > 0
          ? say('CONFLICT', `connector "${text}" was revoked before`)
          : say('NOT_FOUND', `there is no connector "${text}"; see: sallyport connector list`)
      }
    },
  ),

  'token.create': change(
    'Makes a one-time token by which one connector can enrol. It is shown once.',
    z.strictObject({
      connectorGroup: reference.default('default'),
      lifetimeMs: z
        .int()
        .min(minuteMs)
        .max(24 * 60 * minuteMs)
        .default(60 * minuteMs),
    }),
    async ({ db, nowAt, audit }, input, { facts }) => {
      const group = await findConnectorGroup(db, input.connectorGroup, 'connectorGroup')
      const token = makeEnrolmentToken(facts.connectorCaFingerprint)
      const id = randomUUID()
      const expiresAt = nowAt + input.lifetimeMs
      await enrolmentTokens.createEnrolmentToken(
        db,
        { id, tokenHash: hashEnrolmentToken(token), groupId: group.id, expiresAt },
        nowAt,
      )
      await audit('enrolment-token-created', id, { connectorGroup: group.name, expiresAt })
      return { token, connectorGroup: group.name, expiresAt, service: facts.service }
    },
  ),
}

function statusOf(one: connectors.Connector, tunnels: number, nowAt: number) {
  if (one.revokedAt !== undefined) return 'revoked'
  if (tunnels > 0) return 'online'
  return nowAt >= one.certificateNotAfterAt ? 'expired' : 'offline'
}
