import { onPremisesAttributes } from '@sallyport/domain'
import { toApplicationObject, withoutDefaults } from './application.ts'
import { toLinkedApplicationObject, withoutLinkDefaults } from './linked-application.ts'
import type { NamedPeople } from './schema.ts'
import type { StoredState } from './state.ts'

/** Everything that objects can say of what is stored, in the order in which they need each other. */
export function exportObjects(state: StoredState): Record<string, unknown>[] {
  return [
    ...[...state.connectorGroups.keys()].map((name) => ({ kind: 'connectorGroup', name })),
    ...[...state.users.values()].map(({ userName, displayName, enabled, ...user }) => ({
      kind: 'user',
      userName,
      ...(displayName === userName ? {} : { displayName }),
      ...Object.fromEntries(
        (['mail', ...onPremisesAttributes] as const)
          .filter((name) => user[name] !== undefined)
          .map((name) => [name, user[name]]),
      ),
      accountEnabled: enabled,
    })),
    ...[...state.groups].map((name) => ({
      kind: 'group',
      name,
      members: toPeople(state.members.get(name)!),
    })),
    ...[...state.applications.values()].map(({ application, assigned }) => ({
      kind: 'application',
      ...withoutDefaults(toApplicationObject(application)),
      assignments: toPeople(assigned),
    })),
    ...[...state.linkedApplications.values()].map(({ application, assigned }) => ({
      kind: 'linkedApplication',
      ...withoutLinkDefaults(toLinkedApplicationObject(application)),
      assignments: toPeople(assigned),
    })),
  ]
}

function toPeople({ users, groups }: NamedPeople): Partial<NamedPeople> {
  return {
    ...(users.length === 0 ? {} : { users }),
    ...(groups.length === 0 ? {} : { groups }),
  }
}
