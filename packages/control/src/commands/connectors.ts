import { randomUUID } from 'node:crypto'
import { isLinked } from '@sallyport/domain'
import { fingerprintOf } from '@sallyport/sso/password'
import {
  applications,
  connectorGroups,
  connectors,
  credentials,
  enrolmentTokens,
} from '@sallyport/store'
import { z } from 'zod'
import { type CommandDefinition, change, nothing, query, reference } from '../command.ts'
import { hashEnrolmentToken, makeEnrolmentToken } from '../enrolment-token.ts'
import { refuse } from '../errors.ts'
import { findConnector, findConnectorGroup } from './references.ts'

const minuteMs = 60_000

const connectorGroup = z.strictObject({ name: reference })

const connector = z.strictObject({ connector: reference })

export const connectorGroupName = z
  .string()
  .regex(/^[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?$/, {
    error: 'must be 1-64 letters, digits, spaces, dots, _ and -',
  })

export const connectorCommands: Record<string, CommandDefinition> = {
  'connector-group.create': change(
    'Creates a connector group.',
    z.strictObject({ name: connectorGroupName }),
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
        .filter(({ application }) => !isLinked(application) && application.connectorGroup === name)
        .map(({ application }) => application.name)
      if (used.length > 0)
        throw inUse(`is used by the applications ${used.join(', ')}; move them to another first`)
      const members = (await connectors.listConnectors(db))
        .filter((one) => one.groupId === id && one.revokedAt === undefined)
        .map((one) => one.name)
      if (members.length > 0)
        throw inUse(
          `holds the connectors ${members.join(', ')}; move them to another group or revoke them first`,
        )
      await connectorGroups.deleteConnectorGroup(db, id)
      await audit('connector-group-deleted', id, { name })
    },
  ),

  'connector.list': query(
    'Lists connectors by name.',
    nothing,
    async ({ db, countTunnels, clock }) =>
      (await connectors.listConnectors(db)).map((one) =>
        toResult(one, countTunnels(one.id), clock()),
      ),
  ),

  'connector.revoke': change(
    'Revokes a connector, by name or ID: its tunnels close, and it never comes back.',
    connector,
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, name } = await findConnector(db, input.connector, 'connector')
      const { onlyHere } = await credentials.countCopies(db, id)
      await connectors.revokeConnector(db, id, nowAt)
      await credentials.deleteCopiesOf(db, id)
      publish([{ kind: 'connector-revoked', connectorId: id, at: nowAt }])
      await audit('connector-revoked', id, { name, lostPasswords: onlyHere })
      return { lostPasswords: onlyHere }
    },
  ),

  'connector.show': query(
    'Shows a connector in force, by name or ID.',
    connector,
    async ({ db, countTunnels, clock, sealingKeys }, input) => {
      const shown = await findConnector(db, input.connector, 'connector')
      const { all, onlyHere } = await credentials.countCopies(db, shown.id)
      return {
        ...toResult(shown, countTunnels(shown.id), clock()),
        sealingKeyFingerprint:
          shown.sealingKey === undefined ? null : fingerprintOf(shown.sealingKey),
        sealingKeyApproved: sealingKeys.isApproved(shown),
        passwords: all,
        passwordsOnlyHere: onlyHere,
      }
    },
  ),

  'connector.trust-key': change(
    'Lets passwords be sealed to a connector, after its fingerprint was compared with what its machine prints.',
    z.strictObject({ connector: reference, fingerprint: z.string().trim().min(1).max(64) }),
    async ({ db, audit }, input, { sealingKeys }) => {
      const shown = await findConnector(db, input.connector, 'connector')
      const { id, name, sealingKey } = shown
      const say = (message: string) => refuse('CONFLICT', { path: 'fingerprint', message })
      if (sealingKey === undefined)
        throw say(
          `connector ${name} has told no key yet: start it with this version or a later one`,
        )
      const fingerprint = fingerprintOf(sealingKey)
      if (fingerprint !== input.fingerprint)
        throw say(
          `is not that of the key which connector ${name} has told, ${fingerprint}; if its machine prints yours, somebody stands between it and this service`,
        )
      await connectors.approveSealingKey(db, id, sealingKey, sealingKeys.approvalOf(shown))
      await audit('connector-sealing-key-approved', id, { name, fingerprint })
      return { id, name, fingerprint }
    },
  ),

  'connector.move': change(
    'Moves a connector to another group. Its tunnels stay up, and what is under way goes on.',
    z.strictObject({ connector: reference, connectorGroup: reference }),
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, name, groupName } = await findConnector(db, input.connector, 'connector')
      const group = await findConnectorGroup(db, input.connectorGroup, 'connectorGroup')
      if (group.name === groupName) return
      await connectors.moveConnector(db, id, group.id)
      publish([{ kind: 'connector-moved', connectorId: id, connectorGroup: group.name, at: nowAt }])
      await audit('connector-moved', id, { name, from: groupName, to: group.name })
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
      return { id, token, connectorGroup: group.name, expiresAt, service: facts.service }
    },
  ),

  'token.list': query(
    'Lists the tokens that were made lately, newest first; never the tokens themselves.',
    nothing,
    async ({ db, clock }) =>
      (await enrolmentTokens.listEnrolmentTokens(db)).map((token) => ({
        id: token.id,
        connectorGroup: token.groupName,
        status: statusOfToken(token, clock()),
        createdAt: token.createdAt,
        expiresAt: token.expiresAt,
        usedAt: token.usedAt ?? null,
        connectorId: token.connectorId ?? null,
      })),
  ),

  'token.delete': change(
    'Takes a token back that nobody has used.',
    z.strictObject({ id: reference }),
    async ({ db, audit }, { id }) => {
      if (!(await enrolmentTokens.deleteUnusedEnrolmentToken(db, id)))
        throw refuse('NOT_FOUND', {
          path: 'id',
          message: 'there is no unused token with this ID; see: sallyport token list',
        })
      await audit('enrolment-token-deleted', id)
    },
  ),
}

function toResult(one: connectors.Connector, tunnels: number, nowAt: number) {
  return {
    name: one.name,
    connectorGroup: one.groupName,
    status: statusOf(one, tunnels, nowAt),
    tunnels,
    lastSeenAt: one.lastSeenAt ?? null,
    certificateNotAfterAt: one.certificateNotAfterAt,
    id: one.id,
    enrolledAt: one.enrolledAt,
    revokedAt: one.revokedAt ?? null,
  }
}

function statusOfToken(token: enrolmentTokens.EnrolmentToken, nowAt: number) {
  if (token.usedAt !== undefined) return 'used'
  return nowAt < token.expiresAt ? 'good' : 'expired'
}

function statusOf(one: connectors.Connector, tunnels: number, nowAt: number) {
  if (one.revokedAt !== undefined) return 'revoked'
  if (tunnels > 0) return 'online'
  return nowAt >= one.certificateNotAfterAt ? 'expired' : 'offline'
}
