import type { Kysely, Selectable } from 'kysely'
import { deleteCopiesOf } from './credentials.ts'
import type { Database } from './schema.ts'

/** An enrolled connector. Instants are epoch milliseconds, serials lower-case hex. */
export interface Connector {
  id: string
  name: string
  groupId: string
  /** Name of the connector group. */
  groupName: string
  publicKeyThumbprint: string
  certificateSerial: string
  nextCertificateSerial: string | undefined
  certificateNotAfterAt: number
  enrolledAt: number
  lastSeenAt: number | undefined
  revokedAt: number | undefined
  /** Base64url; undefined until the connector has told it. */
  sealingKey: string | undefined
  /** Whether it counts is for who has the key file to say. */
  sealingKeyApproval: string | undefined
}

/** What a certificate says about its connector. */
export interface ConnectorCertificate {
  serial: string
  notAfterAt: number
  publicKeyThumbprint: string
}

export async function createConnector(
  db: Kysely<Database>,
  connector: {
    id: string
    name: string
    groupId: string
    certificate: ConnectorCertificate
  },
  nowAt: number,
): Promise<void> {
  const { id, name, groupId, certificate } = connector
  await db
    .insertInto('connector')
    .values({
      id,
      name,
      groupId,
      publicKeyThumbprint: certificate.publicKeyThumbprint,
      certificateSerial: certificate.serial,
      nextCertificateSerial: null,
      certificateNotAfterAt: certificate.notAfterAt,
      enrolledAt: nowAt,
      lastSeenAt: null,
      revokedAt: null,
      sealingKey: null,
      sealingKeyApproval: null,
    })
    .execute()
}

export async function findConnectorById(
  db: Kysely<Database>,
  id: string,
): Promise<Connector | undefined> {
  const row = await select(db).where('connector.id', '=', id).executeTakeFirst()
  return row && toConnector(row)
}

/** Names are not unique: a machine that is enrolled again keeps its name. */
export async function findConnectorsByName(
  db: Kysely<Database>,
  name: string,
): Promise<Connector[]> {
  return (await select(db).where('connector.name', '=', name).execute()).map(toConnector)
}

/** So many are addressed at once; those that were there last go before. */
const limitAddressed = 100

/** IDs of the connectors of a group that are not revoked. */
export async function listActiveIds(db: Kysely<Database>, groupName: string): Promise<string[]> {
  const rows = await select(db)
    .where('connectorGroup.name', '=', groupName)
    .where('connector.revokedAt', 'is', null)
    .orderBy('connector.lastSeenAt', 'desc')
    .orderBy('connector.enrolledAt', 'desc')
    .limit(limitAddressed)
    .execute()
  return rows.map(({ id }) => id)
}

/** By name, revoked ones too. */
export async function listConnectors(db: Kysely<Database>): Promise<Connector[]> {
  const rows = await select(db)
    .orderBy('connector.name')
    .orderBy('connector.enrolledAt')
    .orderBy('connector.id')
    .execute()
  return rows.map(toConnector)
}

/**
 * Remembers the serial of a renewed certificate. One that was issued before and never used is
 * superseded.
 *
 * @param current serial of the certificate in force, as the caller read it
 * @returns false when that changed, or the connector was revoked, in the meantime
 */
export async function setNextCertificate(
  db: Kysely<Database>,
  id: string,
  current: string,
  next: string,
): Promise<boolean> {
  const row = await db
    .updateTable('connector')
    .set({ nextCertificateSerial: next })
    .where('id', '=', id)
    .where('certificateSerial', '=', current)
    .where('revokedAt', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Puts the renewed certificate in force; the one before is superseded. */
export function promoteCertificate(
  db: Kysely<Database>,
  id: string,
  certificate: ConnectorCertificate,
): Promise<boolean> {
  return putInForce(db, id, certificate, { nextCertificateSerial: certificate.serial })
}

/**
 * Puts a certificate in force that was issued and is not on record; those on record are superseded.
 *
 * @param current serial of the certificate in force, as the caller read it
 * @returns false when that changed, or the connector was revoked, in the meantime
 */
export function adoptCertificate(
  db: Kysely<Database>,
  id: string,
  current: string,
  certificate: ConnectorCertificate,
): Promise<boolean> {
  return putInForce(db, id, certificate, { certificateSerial: current })
}

/** @param onRecord what must stand there still */
async function putInForce(
  db: Kysely<Database>,
  id: string,
  certificate: ConnectorCertificate,
  onRecord: { nextCertificateSerial: string } | { certificateSerial: string },
): Promise<boolean> {
  const row = await db
    .updateTable('connector')
    .set({
      certificateSerial: certificate.serial,
      nextCertificateSerial: null,
      certificateNotAfterAt: certificate.notAfterAt,
      publicKeyThumbprint: certificate.publicKeyThumbprint,
    })
    .where('id', '=', id)
    .where((eb) => eb.and(onRecord))
    .where('revokedAt', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/**
 * Notes that a connector was there.
 *
 * @returns false when the certificate is no longer in force, or the connector was revoked, by now
 */
export async function markConnectorSeen(
  db: Kysely<Database>,
  id: string,
  serial: string,
  nowAt: number,
): Promise<boolean> {
  const row = await db
    .updateTable('connector')
    .set({ lastSeenAt: nowAt })
    .where('id', '=', id)
    .where('certificateSerial', '=', serial)
    .where('revokedAt', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** @returns false when it was revoked before */
export async function revokeConnector(
  db: Kysely<Database>,
  id: string,
  nowAt: number,
): Promise<boolean> {
  const row = await db
    .updateTable('connector')
    .set({ revokedAt: nowAt, nextCertificateSerial: null })
    .where('id', '=', id)
    .where('revokedAt', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/**
 * Notes the key that credentials are to be sealed to. Another one than before has to be approved anew, and what was
 * sealed to the one before opens no more.
 *
 * @returns false when it was on record already
 */
export async function setSealingKey(
  db: Kysely<Database>,
  id: string,
  sealingKey: string,
): Promise<boolean> {
  const row = await db
    .updateTable('connector')
    .set({ sealingKey, sealingKeyApproval: null })
    .where('id', '=', id)
    .where((eb) => eb.or([eb('sealingKey', 'is', null), eb('sealingKey', '!=', sealingKey)]))
    .returning('id')
    .executeTakeFirst()
  if (row) await deleteCopiesOf(db, id)
  return row !== undefined
}

/** @returns false when the connector has another key by now */
export async function approveSealingKey(
  db: Kysely<Database>,
  id: string,
  sealingKey: string,
  approval: string,
): Promise<boolean> {
  const row = await db
    .updateTable('connector')
    .set({ sealingKeyApproval: approval })
    .where('id', '=', id)
    .where('sealingKey', '=', sealingKey)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Those in force of a group, by name. */
export async function listConnectorsOfGroup(
  db: Kysely<Database>,
  groupName: string,
): Promise<Connector[]> {
  const rows = await select(db)
    .where('connectorGroup.name', '=', groupName)
    .where('connector.revokedAt', 'is', null)
    .orderBy('connector.name')
    .orderBy('connector.id')
    .execute()
  return rows.map(toConnector)
}

/** Puts a connector into another group. */
export async function moveConnector(
  db: Kysely<Database>,
  id: string,
  groupId: string,
): Promise<void> {
  await db.updateTable('connector').set({ groupId }).where('id', '=', id).execute()
}

function select(db: Kysely<Database>) {
  return db
    .selectFrom('connector')
    .innerJoin('connectorGroup', 'connectorGroup.id', 'connector.groupId')
    .selectAll('connector')
    .select('connectorGroup.name as groupName')
}

function toConnector(row: Selectable<Database['connector']> & { groupName: string }): Connector {
  return {
    ...row,
    nextCertificateSerial: row.nextCertificateSerial ?? undefined,
    lastSeenAt: row.lastSeenAt ?? undefined,
    revokedAt: row.revokedAt ?? undefined,
    sealingKey: row.sealingKey ?? undefined,
    sealingKeyApproval: row.sealingKeyApproval ?? undefined,
  }
}
