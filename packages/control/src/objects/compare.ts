import { isDeepStrictEqual } from 'node:util'
import { type Application, type LinkedApplication, onPremisesAttributes } from '@sallyport/domain'
import type { users } from '@sallyport/store'
import {
  fromObjectField,
  toApplicationInput,
  toApplicationObject,
  withoutDefaults,
} from './application.ts'
import {
  toLinkedApplication,
  toLinkedApplicationObject,
  withoutLinkDefaults,
} from './linked-application.ts'
import type { Comparison, FieldChange, Step } from './plan.ts'
import type { DeclaredObject, NamedPeople } from './schema.ts'

type Declared<Kind> = Extract<DeclaredObject, { kind: Kind }>

export function compareUser(object: Declared<'user'>, stored: users.User | undefined): Comparison {
  const { userName, mail, accountEnabled } = object
  const facts = {
    mail,
    ...Object.fromEntries(onPremisesAttributes.map((name) => [name, object[name]])),
  }
  const wanted = { displayName: object.displayName ?? userName, ...facts }
  if (!stored) {
    const enabled = accountEnabled ?? true
    return {
      change: {
        action: 'create',
        kind: 'user',
        name: userName,
        fields: toFields({ ...wanted, accountEnabled: enabled }),
      },
      steps: [{ command: 'user.create', input: defined({ userName, ...wanted, enabled }) }],
      references: [],
    }
  }
  const steps: Step[] = []
  const fields = changesOf({ ...stored }, wanted)
  if (fields.length > 0)
    steps.push({
      command: 'user.update',
      input: {
        userName,
        displayName: wanted.displayName,
        ...Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, value ?? null])),
      },
    })
  if (accountEnabled !== undefined && accountEnabled !== stored.enabled) {
    fields.push({ field: 'accountEnabled', before: stored.enabled, after: accountEnabled })
    steps.push({ command: accountEnabled ? 'user.enable' : 'user.disable', input: { userName } })
  }
  return {
    change:
      fields.length === 0 ? undefined : { action: 'update', kind: 'user', name: userName, fields },
    steps,
    references: [],
  }
}

export function compareGroup(
  object: Declared<'group'>,
  stored: NamedPeople | undefined,
): Comparison {
  const { name, members } = object
  const { fields, references } = comparePeople(
    'members',
    members,
    stored,
    (kind, member, adds) => ({
      command: adds ? 'group.add-member' : 'group.remove-member',
      input: { group: name, [kind === 'user' ? 'user' : 'memberGroup']: member },
    }),
  )
  if (!stored)
    return {
      change: { action: 'create', kind: 'group', name, fields },
      steps: [{ command: 'group.create', input: { name } }],
      references,
    }
  return {
    change: fields.length === 0 ? undefined : { action: 'update', kind: 'group', name, fields },
    steps: [],
    references,
  }
}

export function compareApplication(
  object: Declared<'application'>,
  stored: { application: Application; assigned: NamedPeople } | undefined,
): Comparison {
  const input = toApplicationInput(object)
  const wanted = toApplicationObject({ ...input, id: '' })
  return compareAssigned(object, stored?.assigned, {
    create: { command: 'app.create', input },
    wanted,
    stored: stored && toApplicationObject(stored.application),
    toPlan: withoutDefaults(wanted),
    toField: fromObjectField,
  })
}

export function compareLinkedApplication(
  object: Declared<'linkedApplication'>,
  stored: { application: LinkedApplication; assigned: NamedPeople } | undefined,
): Comparison {
  const input = toLinkedApplication(object)
  const wanted = toLinkedApplicationObject({ ...input, id: '' })
  return compareAssigned(object, stored?.assigned, {
    create: { command: 'app.create-linked', input },
    wanted: { ...wanted },
    stored: stored && { ...toLinkedApplicationObject(stored.application) },
    toPlan: withoutLinkDefaults(wanted),
    toField: (name) => (name === 'appRoleAssignmentRequired' ? 'assignmentRequired' : name),
  })
}

/** `wanted` and `stored` as files write them, with every default. */
function compareAssigned(
  object: Declared<'application' | 'linkedApplication'>,
  assigned: NamedPeople | undefined,
  {
    create,
    wanted,
    stored,
    toPlan,
    toField,
  }: {
    create: { command: string; input: object }
    wanted: Record<string, unknown>
    stored: Record<string, unknown> | undefined
    /** What a plan says of a new one. */
    toPlan: Record<string, unknown>
    /** The name that commands have for a field of files. */
    toField(name: string): string
  },
): Comparison {
  const { kind, name } = object
  const ours = create.input as Record<string, unknown>
  const people = comparePeople(
    'assignments',
    object.assignments,
    assigned,
    (kind, principal, adds) => ({
      command: adds ? 'app.assign' : 'app.unassign',
      input: { name, [kind]: principal },
    }),
  )
  if (!stored)
    return {
      change: {
        action: 'create',
        kind,
        name,
        fields: [...toFields(withoutName(toPlan)), ...people.fields],
      },
      steps: [{ command: create.command, input: ours }],
      references: people.references,
    }
  const changed = changesOf(stored, wanted)
  const set = Object.fromEntries(
    changed.map(({ field }) => [toField(field), ours[toField(field)] ?? null]),
  )
  const fields = [...changed, ...people.fields]
  return {
    change: fields.length === 0 ? undefined : { action: 'update', kind, name, fields },
    steps: changed.length === 0 ? [] : [{ command: 'app.update', input: { name, set } }],
    references: people.references,
  }
}

/** @param wanted undefined: they stay as they are */
function comparePeople(
  field: string,
  wanted: NamedPeople | undefined,
  stored: NamedPeople = { users: [], groups: [] },
  toStep: (kind: 'user' | 'group', name: string, adds: boolean) => Step,
): { fields: FieldChange[]; references: Step[] } {
  const fields: FieldChange[] = []
  const references: Step[] = []
  if (!wanted) return { fields, references }
  for (const [kind, list] of [
    ['user', 'users'],
    ['group', 'groups'],
  ] as const) {
    const before = new Set(stored[list])
    const after = new Set(wanted[list])
    const added = [...after].filter((name) => !before.has(name)).toSorted()
    const removed = [...before].filter((name) => !after.has(name)).toSorted()
    if (added.length + removed.length === 0) continue
    fields.push({ field: `${field}.${list}`, added, removed })
    references.push(
      ...added.map((name) => toStep(kind, name, true)),
      ...removed.map((name) => toStep(kind, name, false)),
    )
  }
  return { fields, references }
}

function changesOf(before: Record<string, unknown>, after: Record<string, unknown>): FieldChange[] {
  return Object.keys(after)
    .filter((field) => !isDeepStrictEqual(before[field], after[field]))
    .map((field) => ({ field, before: before[field], after: after[field] }))
}

function toFields(values: Record<string, unknown>): FieldChange[] {
  return Object.entries(defined(values)).map(([field, after]) => ({ field, after }))
}

function withoutName({ name: _, ...rest }: Record<string, unknown>): Record<string, unknown> {
  return rest
}

function defined(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}
