import {
  type Application,
  type AssignedApplication,
  applicationSchema,
  type LinkedApplication,
  linkedApplicationSchema,
} from '@sallyport/domain'
import type { Kysely, Selectable } from 'kysely'
import type { Database } from './schema.ts'
import { atomically } from './transaction.ts'

/** An application as it is kept. Instants are epoch milliseconds. */
export interface StoredApplication {
  application: Application | LinkedApplication
  createdAt: number
  updatedAt: number
}

/** A user or group that may use an application. */
export interface Principal {
  id: string
  kind: 'user' | 'group'
}

/** @returns false when the ID or the name is taken */
export async function createApplication(
  db: Kysely<Database>,
  application: Application | LinkedApplication,
  nowAt: number,
): Promise<boolean> {
  const row = await db
    .insertInto('application')
    .values({
      id: application.id,
      name: application.name,
      definition: JSON.stringify(application),
      createdAt: nowAt,
      updatedAt: nowAt,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Replaces the definition of the application with the same ID. */
export async function updateApplication(
  db: Kysely<Database>,
  application: Application | LinkedApplication,
  nowAt: number,
): Promise<'updated' | 'not-found' | 'name-taken'> {
  return atomically(db, async (db) => {
    const other = await findApplicationByName(db, application.name)
    if (other && other.application.id !== application.id) return 'name-taken'
    const row = await db
      .updateTable('application')
      .set({
        name: application.name,
        definition: JSON.stringify(application),
        updatedAt: nowAt,
      })
      .where('id', '=', application.id)
      .returning('id')
      .executeTakeFirst()
    return row ? 'updated' : 'not-found'
  })
}

export async function findApplicationById(
  db: Kysely<Database>,
  id: string,
): Promise<StoredApplication | undefined> {
  const row = await db.selectFrom('application').selectAll().where('id', '=', id).executeTakeFirst()
  return row && toStored(row)
}

export async function findApplicationByName(
  db: Kysely<Database>,
  name: string,
): Promise<StoredApplication | undefined> {
  const row = await db
    .selectFrom('application')
    .selectAll()
    .where('name', '=', name)
    .executeTakeFirst()
  return row && toStored(row)
}

/** By name. */
export async function listApplications(db: Kysely<Database>): Promise<StoredApplication[]> {
  return (await db.selectFrom('application').selectAll().orderBy('name').execute()).map(toStored)
}

/** Everything that `compileSnapshot` needs, in two queries. */
export async function listAssignedApplications(
  db: Kysely<Database>,
): Promise<AssignedApplication[]> {
  const assigned = new Map<string, string[]>()
  for (const { applicationId, principalId } of await db
    .selectFrom('assignment')
    .select(['applicationId', 'principalId'])
    .execute()) {
    const ids = assigned.get(applicationId)
    if (ids) ids.push(principalId)
    else assigned.set(applicationId, [principalId])
  }
  return (await listApplications(db)).map(({ application }) => ({
    application,
    principalIds: assigned.get(application.id) ?? [],
  }))
}

/** Removes the application and its assignments. */
export async function deleteApplication(db: Kysely<Database>, id: string): Promise<boolean> {
  const row = await db
    .deleteFrom('application')
    .where('id', '=', id)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** @returns false when it was assigned before */
export async function assign(
  db: Kysely<Database>,
  applicationId: string,
  principal: Principal,
): Promise<boolean> {
  const row = await db
    .insertInto('assignment')
    .values({ applicationId, principalId: principal.id, principalKind: principal.kind })
    .onConflict((conflict) => conflict.doNothing())
    .returning('principalId')
    .executeTakeFirst()
  return row !== undefined
}

/** @returns false when it was not assigned */
export async function unassign(
  db: Kysely<Database>,
  applicationId: string,
  principal: Principal,
): Promise<boolean> {
  const row = await db
    .deleteFrom('assignment')
    .where('applicationId', '=', applicationId)
    .where('principalId', '=', principal.id)
    .where('principalKind', '=', principal.kind)
    .returning('principalId')
    .executeTakeFirst()
  return row !== undefined
}

/** An assignment with the name of who is assigned. */
export interface Assignment extends Principal {
  applicationId: string
  name: string
}

/** Who is assigned, to one application or to each; users before groups. */
export async function listAssignments(
  db: Kysely<Database>,
  applicationId?: string,
): Promise<Assignment[]> {
  let ofUsers = db
    .selectFrom('assignment')
    .innerJoin('user', 'user.id', 'assignment.principalId')
    .select(['assignment.applicationId', 'user.id', 'user.userName as name'])
    .where('assignment.principalKind', '=', 'user')
    .orderBy('user.userName')
  let ofGroups = db
    .selectFrom('assignment')
    .innerJoin('group', 'group.id', 'assignment.principalId')
    .select(['assignment.applicationId', 'group.id', 'group.name'])
    .where('assignment.principalKind', '=', 'group')
    .orderBy('group.name')
  if (applicationId !== undefined) {
    ofUsers = ofUsers.where('assignment.applicationId', '=', applicationId)
    ofGroups = ofGroups.where('assignment.applicationId', '=', applicationId)
  }
  return [
    ...(await ofUsers.execute()).map((row) => ({ ...row, kind: 'user' as const })),
    ...(await ofGroups.execute()).map((row) => ({ ...row, kind: 'group' as const })),
  ]
}

function toStored(row: Selectable<Database['application']>): StoredApplication {
  const definition = JSON.parse(row.definition) as object
  return {
    // Parsed, not cast: a field that is new since it was written gets its default here.
    application:
      'linkedUrl' in definition
        ? linkedApplicationSchema.parse(definition)
        : applicationSchema.parse(definition),
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
  }
}
