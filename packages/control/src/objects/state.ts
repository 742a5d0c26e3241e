import { type Application, isLinked, type LinkedApplication } from '@sallyport/domain'
import { applications, connectorGroups, connectors, groups, users } from '@sallyport/store'
import type { Db } from '../configuration.ts'
import type { NamedPeople, ObjectKind } from './schema.ts'

/** What is stored of that which a plan may touch, by name. */
export interface StoredState {
  /** With the names of the connectors in force. */
  readonly connectorGroups: ReadonlyMap<string, readonly string[]>
  readonly users: ReadonlyMap<string, users.User>
  readonly groups: ReadonlySet<string>
  readonly members: ReadonlyMap<string, NamedPeople>
  readonly applications: ReadonlyMap<string, { application: Application; assigned: NamedPeople }>
  readonly linkedApplications: ReadonlyMap<
    string,
    { application: LinkedApplication; assigned: NamedPeople }
  >
  /** How many users could sign in: enabled, and with a password. */
  readonly signInCount: number
}

/**
 * Reads it in the transaction of the caller.
 *
 * @param wanted the users and the groups that matter; undefined: all of them
 */
export async function readState(
  db: Db,
  wanted: { users: readonly string[] | undefined; groups: readonly string[] | undefined },
): Promise<StoredState> {
  const groupRows = await groups.listGroups(db)
  const inForce = (await connectors.listConnectors(db)).filter(
    ({ revokedAt }) => revokedAt === undefined,
  )
  const assignments = Map.groupBy(
    await applications.listAssignments(db),
    ({ applicationId }) => applicationId,
  )
  const published: [string, { application: Application; assigned: NamedPeople }][] = []
  const linked: [string, { application: LinkedApplication; assigned: NamedPeople }][] = []
  for (const { application } of await applications.listApplications(db)) {
    const assigned = toPeople(assignments.get(application.id) ?? [])
    if (isLinked(application)) linked.push([application.name, { application, assigned }])
    else published.push([application.name, { application, assigned }])
  }
  const wantedGroups = new Set(wanted.groups)
  const members = Map.groupBy(
    await groups.listNamedMembers(
      db,
      wanted.groups && groupRows.filter(({ name }) => wantedGroups.has(name)).map(({ id }) => id),
    ),
    ({ groupId }) => groupId,
  )
  return {
    connectorGroups: new Map(
      (await connectorGroups.listConnectorGroups(db)).map(({ id, name }) => [
        name,
        inForce.filter(({ groupId }) => groupId === id).map((one) => one.name),
      ]),
    ),
    users: new Map(
      (wanted.users
        ? await users.findUsersByName(db, wanted.users)
        : await users.listUsers(db)
      ).map((user) => [user.userName, user]),
    ),
    groups: new Set(groupRows.map(({ name }) => name)),
    members: new Map(groupRows.map(({ id, name }) => [name, toPeople(members.get(id) ?? [])])),
    applications: new Map(published),
    linkedApplications: new Map(linked),
    signInCount: await users.countSignIns(db),
  }
}

function toPeople(all: readonly { kind: 'user' | 'group'; name: string }[]): NamedPeople {
  const ofKind = (kind: 'user' | 'group') =>
    all.filter((one) => one.kind === kind).map(({ name }) => name)
  return { users: ofKind('user'), groups: ofKind('group') }
}

/** Names of a kind that are stored. */
export function storedNames(state: StoredState, kind: ObjectKind): Iterable<string> {
  switch (kind) {
    case 'connectorGroup':
      return state.connectorGroups.keys()
    case 'user':
      return state.users.keys()
    case 'group':
      return state.groups
    case 'application':
      return state.applications.keys()
    case 'linkedApplication':
      return state.linkedApplications.keys()
  }
}
