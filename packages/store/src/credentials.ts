import { randomUUID } from 'node:crypto'
import type { Kysely, Selectable } from 'kysely'
import { limitParameters } from './parameters.ts'
import type { Database } from './schema.ts'

/** Whose a credential is: one person's, or shared by a group. */
export interface CredentialSubject {
  id: string
  kind: 'user' | 'group'
}

/** A password for an application, of which nothing can be read here. Instants are epoch milliseconds. */
export interface CredentialRow {
  id: string
  applicationId: string
  subjectId: string
  subjectKind: 'user' | 'group'
  /** What it is sealed for; for anything else it does not open. */
  origin: string
  action: string
  /** Grows with each change, and is never used again. */
  version: number
  setBy: 'person' | 'administrator'
  updatedAt: number
  /** When the application turned it down; it is not sent again. */
  refusedAt: number | undefined
}

/** A copy for one connector. */
export interface SealedCopy {
  connectorId: string
  sealed: string
}

/** Puts a credential in the place of the one before, with its copies. */
export async function setCredential(
  db: Kysely<Database>,
  input: {
    applicationId: string
    subject: CredentialSubject
    origin: string
    action: string
    version: number
    setBy: 'person' | 'administrator'
    copies: readonly SealedCopy[]
  },
  nowAt: number,
): Promise<string> {
  const { applicationId, subject, copies, ...facts } = input
  const values = { ...facts, updatedAt: nowAt, refusedAt: null }
  const { id } = await db
    .insertInto('credential')
    .values({
      id: randomUUID(),
      applicationId,
      subjectId: subject.id,
      subjectKind: subject.kind,
      ...values,
    })
    .onConflict((conflict) =>
      conflict.columns(['applicationId', 'subjectId', 'subjectKind']).doUpdateSet(values),
    )
    .returning('id')
    .executeTakeFirstOrThrow()
  await db.deleteFrom('sealedCredential').where('credentialId', '=', id).execute()
  if (copies.length > 0)
    await db
      .insertInto('sealedCredential')
      .values(copies.map((copy) => ({ credentialId: id, ...copy })))
      .execute()
  return id
}

export async function findCredential(
  db: Kysely<Database>,
  applicationId: string,
  subject: CredentialSubject,
): Promise<CredentialRow | undefined> {
  const row = await db
    .selectFrom('credential')
    .selectAll()
    .where('applicationId', '=', applicationId)
    .where('subjectId', '=', subject.id)
    .where('subjectKind', '=', subject.kind)
    .executeTakeFirst()
  return row && toRow(row)
}

/** Those of an application, or of all; of these subjects, in no order, or of all, by application and subject. */
export async function listCredentials(
  db: Kysely<Database>,
  filter: { applicationId?: string; subjects?: readonly CredentialSubject[] } = {},
): Promise<CredentialRow[]> {
  let query = db.selectFrom('credential').selectAll()
  if (filter.applicationId !== undefined)
    query = query.where('applicationId', '=', filter.applicationId)
  const ordered = query.orderBy('applicationId').orderBy('subjectKind').orderBy('subjectId')
  const { subjects } = filter
  if (!subjects) return (await ordered.execute()).map(toRow)
  const wanted = new Set(subjects.map(toKey))
  const found: CredentialRow[] = []
  // A person may be in thousands of groups.
  for (let start = 0; start < subjects.length; start += limitParameters) {
    const ids = subjects.slice(start, start + limitParameters).map(({ id }) => id)
    const rows = await ordered.where('subjectId', 'in', ids).execute()
    found.push(...rows.map(toRow))
  }
  return found.filter(({ subjectId, subjectKind }) =>
    wanted.has(toKey({ id: subjectId, kind: subjectKind })),
  )
}

function toKey({ id, kind }: CredentialSubject): string {
  return `${kind} ${id}`
}

export async function listCopies(
  db: Kysely<Database>,
  credentialId: string,
): Promise<SealedCopy[]> {
  return await db
    .selectFrom('sealedCredential')
    .select(['connectorId', 'sealed'])
    .where('credentialId', '=', credentialId)
    .orderBy('connectorId')
    .execute()
}

/** @returns false when there was none */
export async function deleteCredential(db: Kysely<Database>, id: string): Promise<boolean> {
  const row = await db
    .deleteFrom('credential')
    .where('id', '=', id)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** With the person or group that they belong to. */
export async function deleteCredentialsOf(
  db: Kysely<Database>,
  subject: CredentialSubject,
): Promise<void> {
  await db
    .deleteFrom('credential')
    .where('subjectId', '=', subject.id)
    .where('subjectKind', '=', subject.kind)
    .execute()
}

/** @returns undefined when it has been changed since, or was refused before */
export async function markRefused(
  db: Kysely<Database>,
  id: string,
  version: number,
  nowAt: number,
): Promise<CredentialRow | undefined> {
  const row = await db
    .updateTable('credential')
    .set({ refusedAt: nowAt })
    .where('id', '=', id)
    .where('version', '=', version)
    .where('refusedAt', 'is', null)
    .returningAll()
    .executeTakeFirst()
  return row && toRow(row)
}

/**
 * Credentials of these applications that one connector can open and another cannot.
 *
 * @param limit at most so many
 */
export async function listToReseal(
  db: Kysely<Database>,
  applicationIds: readonly string[],
  fromConnectorId: string,
  toConnectorId: string,
  limit: number,
): Promise<(CredentialRow & { sealed: string })[]> {
  const query = db
    .selectFrom('credential')
    .innerJoin('sealedCredential as own', 'own.credentialId', 'credential.id')
    .leftJoin('sealedCredential as other', (join) =>
      join
        .onRef('other.credentialId', '=', 'credential.id')
        .on('other.connectorId', '=', toConnectorId),
    )
    .selectAll('credential')
    .select('own.sealed')
    .where('own.connectorId', '=', fromConnectorId)
    .where('other.credentialId', 'is', null)
    .orderBy('credential.id')
  const found: (CredentialRow & { sealed: string })[] = []
  for (let start = 0; start < applicationIds.length; start += limitParameters) {
    if (found.length >= limit) break
    const rows = await query
      .where('credential.applicationId', 'in', applicationIds.slice(start, start + limitParameters))
      .limit(limit - found.length)
      .execute()
    found.push(...rows.map(({ sealed, ...row }) => ({ ...toRow(row), sealed })))
  }
  return found
}

/**
 * Adds a copy that one connector has made for another one.
 *
 * @param applicationIds of those that both may serve
 * @returns false when the credential has been changed since, is for another application, the first connector
 *   cannot open it, or there is such a copy
 */
export async function addCopy(
  db: Kysely<Database>,
  applicationIds: ReadonlySet<string>,
  copy: {
    credentialId: string
    version: number
    fromConnectorId: string
    connectorId: string
    sealed: string
  },
): Promise<boolean> {
  const { credentialId, version, fromConnectorId, connectorId, sealed } = copy
  const current = await db
    .selectFrom('credential')
    .innerJoin('sealedCredential as own', 'own.credentialId', 'credential.id')
    .select('credential.applicationId')
    .where('credential.id', '=', credentialId)
    .where('credential.version', '=', version)
    .where('own.connectorId', '=', fromConnectorId)
    .executeTakeFirst()
  if (!current || !applicationIds.has(current.applicationId)) return false
  const row = await db
    .insertInto('sealedCredential')
    .values({ credentialId, connectorId, sealed })
    .onConflict((conflict) => conflict.columns(['credentialId', 'connectorId']).doNothing())
    .returning('credentialId')
    .executeTakeFirst()
  return row !== undefined
}

/** Copies of a connector that can open nothing any more. */
export async function deleteCopiesOf(db: Kysely<Database>, connectorId: string): Promise<void> {
  await db.deleteFrom('sealedCredential').where('connectorId', '=', connectorId).execute()
}

/** How many credentials a connector can open, and how many of these no other connector can. */
export async function countCopies(
  db: Kysely<Database>,
  connectorId: string,
): Promise<{ all: number; onlyHere: number }> {
  const rows = await db
    .selectFrom('sealedCredential as own')
    .leftJoin('sealedCredential as other', (join) =>
      join
        .onRef('other.credentialId', '=', 'own.credentialId')
        .onRef('other.connectorId', '!=', 'own.connectorId'),
    )
    .select(['own.credentialId as id', 'other.connectorId as otherId'])
    .where('own.connectorId', '=', connectorId)
    .execute()
  return {
    all: new Set(rows.map(({ id }) => id)).size,
    onlyHere: rows.filter(({ otherId }) => otherId === null).length,
  }
}

function toRow(row: Selectable<Database['credential']>): CredentialRow {
  return { ...row, refusedAt: row.refusedAt ?? undefined }
}
