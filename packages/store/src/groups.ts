import { randomUUID } from 'node:crypto'
import type { AccessEvent } from '@sallyport/domain'
import type { Kysely } from 'kysely'
import { deleteCredentialsOf } from './credentials.ts'
import { prepare, type Slots } from './prepare.ts'
import type { Database } from './schema.ts'
import { atomically } from './transaction.ts'

export interface Group {
  id: string
  name: string
  createdAt: number
}

export interface Member {
  id: string
  kind: 'user' | 'group'
}

/** What the caller must publish once the change is committed; undefined: no such group or member. */
type Change = AccessEvent[] | undefined

/** @returns undefined when the name is taken */
export async function createGroup(
  db: Kysely<Database>,
  input: { id?: string; name: string },
  nowAt: number,
): Promise<Group | undefined> {
  return await db
    .insertInto('group')
    .values({ id: input.id ?? randomUUID(), name: input.name, createdAt: nowAt })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returningAll()
    .executeTakeFirst()
}

export async function findGroupById(db: Kysely<Database>, id: string): Promise<Group | undefined> {
  return await db.selectFrom('group').selectAll().where('id', '=', id).executeTakeFirst()
}

export async function findGroupByName(
  db: Kysely<Database>,
  name: string,
): Promise<Group | undefined> {
  return await db.selectFrom('group').selectAll().where('name', '=', name).executeTakeFirst()
}

export async function listGroups(db: Kysely<Database>): Promise<Group[]> {
  return await db.selectFrom('group').selectAll().orderBy('name').execute()
}

/** @returns what to publish, since names of groups are sent to applications; undefined when the name is taken */
export function renameGroup(
  db: Kysely<Database>,
  id: string,
  name: string,
  nowAt: number,
): Promise<Change> {
  return atomically(db, async (db) => {
    const other = await findGroupByName(db, name)
    if (other && other.id !== id) return undefined
    await db.updateTable('group').set({ name }).where('id', '=', id).execute()
    return claimsChanged(await usersBelow(db, id), nowAt)
  })
}

/** Direct members. */
export async function listMembers(db: Kysely<Database>, groupId: string): Promise<Member[]> {
  return await db
    .selectFrom('groupMember')
    .select(['memberId as id', 'memberKind as kind'])
    .where('groupId', '=', groupId)
    .orderBy('memberKind')
    .orderBy('memberId')
    .execute()
}

/** A direct member of a group, with its name. */
export interface NamedMember extends Member {
  groupId: string
  name: string
}

/** Direct members of some groups, or of all; users before groups, each by name. */
export async function listNamedMembers(
  db: Kysely<Database>,
  groupIds?: readonly string[],
): Promise<NamedMember[]> {
  // PostgreSQL knows no empty list.
  if (groupIds?.length === 0) return []
  let ofUsers = db
    .selectFrom('groupMember')
    .innerJoin('user', 'user.id', 'groupMember.memberId')
    .select(['groupMember.groupId', 'user.id', 'user.userName as name'])
    .where('groupMember.memberKind', '=', 'user')
    .orderBy('user.userName')
  let ofGroups = db
    .selectFrom('groupMember')
    .innerJoin('group', 'group.id', 'groupMember.memberId')
    .select(['groupMember.groupId', 'group.id', 'group.name'])
    .where('groupMember.memberKind', '=', 'group')
    .orderBy('group.name')
  if (groupIds) {
    ofUsers = ofUsers.where('groupMember.groupId', 'in', groupIds)
    ofGroups = ofGroups.where('groupMember.groupId', 'in', groupIds)
  }
  return [
    ...(await ofUsers.execute()).map((row) => ({ ...row, kind: 'user' as const })),
    ...(await ofGroups.execute()).map((row) => ({ ...row, kind: 'group' as const })),
  ]
}

/** The users who belong to the group, directly or through other groups at any depth; by name. */
export async function listUsersBelow(
  db: Kysely<Database>,
  groupId: string,
): Promise<{ kind: 'user'; id: string; name: string }[]> {
  const rows = await below(db, groupId)
    .innerJoin('user', 'user.id', 'groupMember.memberId')
    .select(['user.id', 'user.userName as name'])
    .where('groupMember.memberKind', '=', 'user')
    .distinct()
    .orderBy('user.userName')
    .execute()
  return rows.map((row) => ({ ...row, kind: 'user' }))
}

/**
 * Makes a user or group a member. Being one already changes nothing. Groups may contain each other
 * in a circle: all of them then have the same users.
 */
export function addMember(
  db: Kysely<Database>,
  groupId: string,
  member: Member,
  nowAt: number,
): Promise<Change> {
  return atomically(db, async (db) => {
    if (!(await findGroupById(db, groupId)) || !(await memberExists(db, member))) return undefined
    const added = await db
      .insertInto('groupMember')
      .values({ groupId, memberId: member.id, memberKind: member.kind })
      .onConflict((conflict) => conflict.doNothing())
      .returning('memberId')
      .executeTakeFirst()
    return added ? claimsChanged(await usersOf(db, member), nowAt) : []
  })
}

/** @returns undefined when it is no direct member */
export function removeMember(
  db: Kysely<Database>,
  groupId: string,
  member: Member,
  nowAt: number,
): Promise<Change> {
  return atomically(db, async (db) => {
    const removed = await db
      .deleteFrom('groupMember')
      .where('groupId', '=', groupId)
      .where('memberId', '=', member.id)
      .where('memberKind', '=', member.kind)
      .returning('memberId')
      .executeTakeFirst()
    return removed && claimsChanged(await usersOf(db, member), nowAt)
  })
}

/** Removes the group, its memberships and its assignments. */
export function deleteGroup(db: Kysely<Database>, id: string, nowAt: number): Promise<Change> {
  return atomically(db, async (db) => {
    const users = await usersBelow(db, id)
    const deleted = await db
      .deleteFrom('group')
      .where('id', '=', id)
      .returning('id')
      .executeTakeFirst()
    if (!deleted) return undefined
    await db
      .deleteFrom('groupMember')
      .where((eb) =>
        eb.or([
          eb('groupId', '=', id),
          eb.and([eb('memberId', '=', id), eb('memberKind', '=', 'group')]),
        ]),
      )
      .execute()
    await db
      .deleteFrom('assignment')
      .where('principalId', '=', id)
      .where('principalKind', '=', 'group')
      .execute()
    await deleteCredentialsOf(db, { id, kind: 'group' })
    return [...claimsChanged(users, nowAt), { kind: 'configuration-changed', at: nowAt }]
  })
}

/** Groups that the user belongs to, directly or through other groups at any depth; by name. */
export function transitiveGroups(
  db: Kysely<Database>,
  userId: string,
): Promise<{ id: string; name: string }[]> {
  return findAbove(db, { userId })
}

const findAbove = prepare((db, value: Slots<{ userId: string }>) =>
  db
    .withRecursive('above(id)', (db) =>
      db
        .selectFrom('groupMember')
        .select('groupMember.groupId as id')
        .where('groupMember.memberId', '=', value('userId'))
        .where('groupMember.memberKind', '=', 'user')
        // UNION drops rows seen before, so a circle of groups ends.
        .union(
          db
            .selectFrom('groupMember')
            .innerJoin('above', 'above.id', 'groupMember.memberId')
            .select('groupMember.groupId as id')
            .where('groupMember.memberKind', '=', 'group'),
        ),
    )
    .selectFrom('group')
    .innerJoin('above', 'above.id', 'group.id')
    .select(['group.id', 'group.name'])
    .orderBy('group.name'),
)

/** IDs of the users who belong to the group, directly or through other groups at any depth. */
export async function usersBelow(db: Kysely<Database>, groupId: string): Promise<string[]> {
  const rows = await below(db, groupId)
    .select('groupMember.memberId as id')
    .where('groupMember.memberKind', '=', 'user')
    .distinct()
    .execute()
  return rows.map(({ id }) => id)
}

/** The memberships of the group and of all groups in it. */
function below(db: Kysely<Database>, groupId: string) {
  return db
    .withRecursive('below(id)', (db) =>
      db
        .selectFrom('group')
        .select('group.id as id')
        .where('group.id', '=', groupId)
        .union(
          db
            .selectFrom('groupMember')
            .innerJoin('below', 'below.id', 'groupMember.groupId')
            .select('groupMember.memberId as id')
            .where('groupMember.memberKind', '=', 'group'),
        ),
    )
    .selectFrom('groupMember')
    .innerJoin('below', 'below.id', 'groupMember.groupId')
}

async function memberExists(db: Kysely<Database>, { id, kind }: Member): Promise<boolean> {
  const row = await db.selectFrom(kind).select('id').where('id', '=', id).executeTakeFirst()
  return row !== undefined
}

async function usersOf(db: Kysely<Database>, { id, kind }: Member): Promise<string[]> {
  return kind === 'user' ? [id] : await usersBelow(db, id)
}

function claimsChanged(userIds: string[], at: number): AccessEvent[] {
  return userIds.map((userId) => ({ kind: 'claims-changed', userId, at }))
}
