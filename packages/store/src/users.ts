import { randomUUID } from 'node:crypto'
import {
  type AccessEvent,
  type OnPremises,
  type OnPremisesAttribute,
  onPremisesAttributes,
} from '@sallyport/domain'
import type { Kysely, Selectable } from 'kysely'
import { deleteCredentialsOf } from './credentials.ts'
import { deleteOidcModelsOfUser } from './oidc-model.ts'
import { prepare, type Slots } from './prepare.ts'
import type { Database } from './schema.ts'
import { atomically } from './transaction.ts'

/** One person in the directory. Instants are epoch milliseconds. */
export interface User extends OnPremises {
  id: string
  /** Lower case; what people type to sign in. */
  userName: string
  displayName: string
  mail: string | undefined
  enabled: boolean
  hasPassword: boolean
  signInEpoch: number
  createdAt: number
  updatedAt: number
}

/** What a password is checked against. */
export interface Credentials {
  userId: string
  userName: string
  /** argon2id in PHC form; undefined: no sign-in with a password. */
  passwordHash: string | undefined
  enabled: boolean
  signInEpoch: number
}

/**
 * Whether a user name may be given to a new user: Entra's characters for user principal names, at
 * most one `@`, no capitals. ASCII only, so that no two names look or fold alike.
 */
export function isUserName(name: string): boolean {
  return (
    name.length <= 113 &&
    /^[a-z0-9](?:[a-z0-9.!#^~_'-]*[a-z0-9_'~])?(?:@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)?$/.test(
      name,
    ) &&
    !name.includes('..')
  )
}

/** A user name as it is stored, from what somebody typed. */
export function toUserName(typed: string): string {
  return typed.trim().toLowerCase()
}

/**
 * @param input `userName` in any case; `id` only to keep one that exists elsewhere
 * @returns undefined when the user name is taken
 * @throws TypeError when the name is none by `isUserName`; callers validate what people type
 */
export async function createUser(
  db: Kysely<Database>,
  input: {
    id?: string
    userName: string
    displayName: string
    mail?: string | undefined
    passwordHash?: string | undefined
    enabled?: boolean
  } & OnPremises,
  nowAt: number,
): Promise<User | undefined> {
  const userName = toUserName(input.userName)
  if (!isUserName(userName)) throw new TypeError(`not a user name: ${JSON.stringify(userName)}`)
  const row = await db
    .insertInto('user')
    .values({
      id: input.id ?? randomUUID(),
      userName,
      displayName: input.displayName,
      mail: input.mail ?? null,
      ...toOnPremises((name) => input[name] ?? null),
      passwordHash: input.passwordHash ?? null,
      enabled: input.enabled === false ? 0 : 1,
      signInEpoch: 1,
      createdAt: nowAt,
      updatedAt: nowAt,
    })
    .onConflict((conflict) => conflict.column('userName').doNothing())
    .returningAll()
    .executeTakeFirst()
  return row && toUser(row)
}

export async function findUserById(db: Kysely<Database>, id: string): Promise<User | undefined> {
  const [row] = await findById(db, { id })
  return row && toUser(row)
}

const findById = prepare((db, value: Slots<{ id: string }>) =>
  db.selectFrom('user').selectAll().where('id', '=', value('id')),
)

/** @param name in any case */
export async function findUserByName(
  db: Kysely<Database>,
  name: string,
): Promise<User | undefined> {
  const row = await db
    .selectFrom('user')
    .selectAll()
    .where('userName', '=', toUserName(name))
    .executeTakeFirst()
  return row && toUser(row)
}

/**
 * Users in the order of their names.
 *
 * @param page `after` is the user name that the page before ended with
 */
export async function listUsers(
  db: Kysely<Database>,
  page: { after?: string | undefined; limit?: number } = {},
): Promise<User[]> {
  let query = db.selectFrom('user').selectAll().orderBy('userName')
  if (page.after !== undefined) query = query.where('userName', '>', page.after)
  if (page.limit !== undefined) query = query.limit(page.limit)
  return (await query.execute()).map(toUser)
}

/** So many names go into one query. */
const namesPerQuery = 500

/** Those of the users that exist, in any order. @param names lower case */
export async function findUsersByName(
  db: Kysely<Database>,
  names: readonly string[],
): Promise<User[]> {
  const found: User[] = []
  const all = [...new Set(names)]
  for (let start = 0; start < all.length; start += namesPerQuery) {
    const rows = await db
      .selectFrom('user')
      .selectAll()
      .where('userName', 'in', all.slice(start, start + namesPerQuery))
      .execute()
    found.push(...rows.map(toUser))
  }
  return found
}

/** How many users could sign in: enabled, and with a password. */
export async function countSignIns(db: Kysely<Database>): Promise<number> {
  const { count } = await db
    .selectFrom('user')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('enabled', '=', 1)
    .where('passwordHash', 'is not', null)
    .executeTakeFirstOrThrow()
  return Number(count)
}

/** @param typed the user name in any case */
export async function findCredentials(
  db: Kysely<Database>,
  typed: string,
): Promise<Credentials | undefined> {
  const row = await db
    .selectFrom('user')
    .select(['id', 'userName', 'passwordHash', 'enabled', 'signInEpoch'])
    .where('userName', '=', toUserName(typed))
    .executeTakeFirst()
  return (
    row && {
      userId: row.id,
      userName: row.userName,
      passwordHash: row.passwordHash ?? undefined,
      enabled: row.enabled === 1,
      signInEpoch: row.signInEpoch,
    }
  )
}

/**
 * The functions below change a user and return what the caller must publish once the change is
 * committed; undefined when there is no such user.
 */
type Change = AccessEvent[] | undefined

/** Sets or removes the password. Every session of the user ends. */
export function setPassword(
  db: Kysely<Database>,
  id: string,
  passwordHash: string | undefined,
  nowAt: number,
): Promise<Change> {
  return raise(db, id, { passwordHash: passwordHash ?? null }, nowAt)
}

/** Disabling ends every session; enabling again revives none of them. */
export function setEnabled(
  db: Kysely<Database>,
  id: string,
  enabled: boolean,
  nowAt: number,
): Promise<Change> {
  return raise(db, id, { enabled: enabled ? 1 : 0 }, nowAt)
}

/** Ends every session of the user. */
export function endAllSessions(db: Kysely<Database>, id: string, nowAt: number): Promise<Change> {
  return raise(db, id, {}, nowAt)
}

/** Stores a hash with newer parameters for the same password; no session ends. */
export async function replacePasswordHash(
  db: Kysely<Database>,
  id: string,
  from: string,
  to: string,
): Promise<void> {
  await db
    .updateTable('user')
    .set({ passwordHash: to })
    .where('id', '=', id)
    .where('passwordHash', '=', from)
    .execute()
}

/** What is null is removed. */
export async function updateUser(
  db: Kysely<Database>,
  id: string,
  changes: { displayName?: string; mail?: string | null } & {
    [Name in OnPremisesAttribute]?: string | null
  },
  nowAt: number,
): Promise<Change> {
  const row = await db
    .updateTable('user')
    .set({ ...changes, updatedAt: nowAt })
    .where('id', '=', id)
    .returning('id')
    .executeTakeFirst()
  return row && [{ kind: 'claims-changed', userId: id, at: nowAt }]
}

/** Removes the user with memberships, assignments, sessions and tokens. */
export function deleteUser(db: Kysely<Database>, id: string, nowAt: number): Promise<Change> {
  return atomically(db, async (db) => {
    const user = await db
      .deleteFrom('user')
      .where('id', '=', id)
      .returning('signInEpoch')
      .executeTakeFirst()
    if (!user) return undefined
    await db
      .deleteFrom('groupMember')
      .where('memberId', '=', id)
      .where('memberKind', '=', 'user')
      .execute()
    await db
      .deleteFrom('assignment')
      .where('principalId', '=', id)
      .where('principalKind', '=', 'user')
      .execute()
    await deleteCredentialsOf(db, { id, kind: 'user' })
    await deleteOidcModelsOfUser(db, id, nowAt)
    await db
      .updateTable('session')
      .set({ endedAt: nowAt, endReason: 'user-deleted' })
      .where('userId', '=', id)
      .where('endedAt', 'is', null)
      .execute()
    return [
      { kind: 'user-epoch', userId: id, signInEpoch: user.signInEpoch + 1, at: nowAt },
      { kind: 'configuration-changed', at: nowAt },
    ]
  })
}

async function raise(
  db: Kysely<Database>,
  id: string,
  changes: { passwordHash?: string | null; enabled?: number },
  nowAt: number,
): Promise<Change> {
  return atomically(db, async (db) => {
    const row = await db
      .updateTable('user')
      .set((eb) => ({ ...changes, signInEpoch: eb('signInEpoch', '+', 1), updatedAt: nowAt }))
      .where('id', '=', id)
      .returning('signInEpoch')
      .executeTakeFirst()
    if (!row) return undefined
    // What the OpenID provider holds for the user (its session, grants, tokens) could only be
    // refused from now on.
    await deleteOidcModelsOfUser(db, id, nowAt)
    return [{ kind: 'user-epoch', userId: id, signInEpoch: row.signInEpoch, at: nowAt }]
  })
}

function toUser(row: Selectable<Database['user']>): User {
  return {
    id: row.id,
    userName: row.userName,
    displayName: row.displayName,
    mail: row.mail ?? undefined,
    ...toOnPremises((name) => row[name] ?? undefined),
    enabled: row.enabled === 1,
    hasPassword: row.passwordHash !== null,
    signInEpoch: row.signInEpoch,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
  }
}

function toOnPremises<Value>(
  read: (name: OnPremisesAttribute) => Value,
): Record<OnPremisesAttribute, Value> {
  return Object.fromEntries(onPremisesAttributes.map((name) => [name, read(name)])) as Record<
    OnPremisesAttribute,
    Value
  >
}
