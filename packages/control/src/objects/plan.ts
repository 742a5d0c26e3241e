import { createHash } from 'node:crypto'
import type { Problem } from '@sallyport/domain'
import type { PlacedObject } from './check.ts'
import {
  compareApplication,
  compareGroup,
  compareLinkedApplication,
  compareUser,
} from './compare.ts'
import { type DeclaredObject, nameOf, type ObjectKind, objectKinds } from './schema.ts'
import { type StoredState, storedNames } from './state.ts'

/** A field that a change sets, by the name that files have for it; a list of people says who comes and goes. */
export type FieldChange =
  | { field: string; before?: unknown; after?: unknown }
  | { field: string; added: string[]; removed: string[] }

/** What is different for one object. */
export interface ObjectChange {
  action: 'create' | 'update' | 'delete'
  kind: ObjectKind
  name: string
  /** Empty when it is deleted. */
  fields: FieldChange[]
}

/** A command that is a part of carrying a plan out. */
export interface Step {
  command: string
  input: Record<string, unknown>
}

export interface Plan {
  /** Stands for exactly these changes of exactly what is stored now. */
  id: string
  changes: ObjectChange[]
  steps: Step[]
  problems: Problem[]
}

/** What comparing one object with what is stored gives. */
export interface Comparison {
  change: ObjectChange | undefined
  /** Makes or changes the object itself; goes before everything that refers to it. */
  steps: Step[]
  /** What refers to other objects; goes after all of those are there. */
  references: Step[]
}

/** Deleting goes from what refers to others to what others refer to. */
const deletions: Readonly<Record<ObjectKind, (name: string) => Step>> = {
  linkedApplication: (name) => ({ command: 'app.delete', input: { name } }),
  application: (name) => ({ command: 'app.delete', input: { name } }),
  group: (name) => ({ command: 'group.delete', input: { name } }),
  user: (userName) => ({ command: 'user.delete', input: { userName } }),
  connectorGroup: (name) => ({ command: 'connector-group.delete', input: { name } }),
}

/** Commands take the connector group `default` when nobody says another. */
export function isNeverPruned(kind: ObjectKind, name: string): boolean {
  return kind === 'connectorGroup' && name === 'default'
}

/**
 * Compares objects with what is stored. Pure.
 *
 * @param placed without problems of their own, none of them twice
 * @param prune kinds of which everything else is deleted
 */
export function makePlan(
  placed: readonly PlacedObject[],
  state: StoredState,
  prune: readonly ObjectKind[],
): Plan {
  const comparisons = placed
    .toSorted((a, b) => objectKinds.indexOf(a.object.kind) - objectKinds.indexOf(b.object.kind))
    .map(({ object }) => compare(object, state))
  const pruned = objectKinds
    .filter((kind) => prune.includes(kind))
    .toReversed()
    .flatMap((kind) => surplusOf(kind, placed, state))
  const changes: ObjectChange[] = [
    ...comparisons.flatMap(({ change }) => change ?? []),
    ...pruned.map(({ kind, name }) => ({ action: 'delete' as const, kind, name, fields: [] })),
  ]
  return {
    id: createHash('sha256').update(JSON.stringify(changes)).digest('hex').slice(0, 16),
    changes,
    steps: [
      ...comparisons.flatMap(({ steps }) => steps),
      ...comparisons.flatMap(({ references }) => references),
      ...pruned.map(({ kind, name }) => deletions[kind](name)),
    ],
    problems: [
      ...pruned.flatMap(({ kind, name }) => explainUse(kind, name, state)),
      ...explainLastWayIn(changes, state),
    ],
  }
}

function compare(object: DeclaredObject, state: StoredState): Comparison {
  switch (object.kind) {
    case 'connectorGroup':
      return state.connectorGroups.has(object.name)
        ? { change: undefined, steps: [], references: [] }
        : {
            change: { action: 'create', kind: 'connectorGroup', name: object.name, fields: [] },
            steps: [{ command: 'connector-group.create', input: { name: object.name } }],
            references: [],
          }
    case 'user':
      return compareUser(object, state.users.get(object.userName))
    case 'group':
      return compareGroup(
        object,
        state.groups.has(object.name) ? state.members.get(object.name) : undefined,
      )
    case 'application':
      return compareApplication(object, state.applications.get(object.name))
    case 'linkedApplication':
      return compareLinkedApplication(object, state.linkedApplications.get(object.name))
  }
}

/** What is stored of a kind and not among the objects. */
function surplusOf(
  kind: ObjectKind,
  placed: readonly PlacedObject[],
  state: StoredState,
): { kind: ObjectKind; name: string }[] {
  const kept = new Set(
    placed.filter(({ object }) => object.kind === kind).map(({ object }) => nameOf(object)),
  )
  return [...storedNames(state, kind)]
    .filter((name) => !kept.has(name) && !isNeverPruned(kind, name))
    .map((name) => ({ kind, name }))
}

function explainUse(kind: ObjectKind, name: string, state: StoredState): Problem[] {
  const connectors = kind === 'connectorGroup' ? (state.connectorGroups.get(name) ?? []) : []
  if (connectors.length === 0) return []
  return [
    {
      path: `connectorGroups.${name}`,
      message: `is not in the files and would be deleted, but holds the connectors ${connectors.join(', ')}; put it into the files, or move or revoke them first`,
    },
  ]
}

/** Whoever applies files must not lock everybody out by it. */
function explainLastWayIn(changes: readonly ObjectChange[], state: StoredState): Problem[] {
  let after = state.signInCount
  for (const { kind, action, name, fields } of changes) {
    const user = kind === 'user' ? state.users.get(name) : undefined
    if (!user?.hasPassword) continue
    const enabled = fields.find(({ field }) => field === 'accountEnabled')
    if (action === 'delete') after -= user.enabled ? 1 : 0
    else if (enabled && 'after' in enabled) after += enabled.after === true ? 1 : -1
  }
  if (state.signInCount === 0 || after > 0) return []
  return [
    {
      path: 'users',
      message:
        'nobody could sign in any more: no enabled user with a password would be left; keep one in the files, or set the password of another first',
    },
  ]
}
