import {
  type Application,
  type AssignedApplication,
  isLinked,
  type Problem,
} from '@sallyport/domain'
import { z } from 'zod'
import {
  type CommandContext,
  type CommandDefinition,
  nothing,
  prepared,
  query,
} from '../command.ts'
import type { Configuration, Db } from '../configuration.ts'
import { ControlError, refuse } from '../errors.ts'
import { toApplicationInput, toObjectField } from '../objects/application.ts'
import { type CheckedObjects, checkObjects } from '../objects/check.ts'
import { exportObjects } from '../objects/export.ts'
import { checkIds } from '../objects/ids.ts'
import { toLinkedApplication } from '../objects/linked-application.ts'
import { makePlan, type Plan } from '../objects/plan.ts'
import { checkReferences } from '../objects/references.ts'
import { nameOf, type ObjectKind, objectKinds } from '../objects/schema.ts'
import { readState, type StoredState } from '../objects/state.ts'
import { applicationCommands } from './applications.ts'
import { connectorCommands } from './connectors.ts'
import { groupCommands } from './groups.ts'
import { userCommands } from './users.ts'

const limitObjects = 100_000

const planInput = z.strictObject({
  objects: z.array(z.unknown()).max(limitObjects),
  prune: z.array(z.enum(objectKinds)).default([]),
})

const parts: Record<string, CommandDefinition> = {
  ...userCommands,
  ...groupCommands,
  ...applicationCommands,
  ...connectorCommands,
}

export const objectCommands: Record<string, CommandDefinition> = {
  'objects.plan': query(
    'Says what would have to change so that the service is as the objects say.',
    planInput,
    async (context, input) => {
      const checked = await checkObjects(input.objects)
      const plan = await context.db
        .transaction()
        .execute((db) => planObjects(db, context, checked, input.prune))
      return { id: plan.id, changes: plan.changes }
    },
  ),

  'objects.apply': prepared(
    'Makes the service as the objects say, all of it or nothing.',
    z.strictObject({ ...planInput.shape, expect: z.string().max(64).optional() }),
    async (_context, input) => ({ ...input, checked: await checkObjects(input.objects) }),
    async (change, { checked, ...input }, context) => {
      const plan = await planObjects(change.db, context, checked, input.prune)
      if (input.expect !== undefined && input.expect !== plan.id)
        throw refuse('CONFLICT', {
          path: 'expect',
          message: `something has changed since the plan ${input.expect}: it is ${plan.id} now; look at it again with --plan`,
        })
      for (const { command, input } of plan.steps)
        await parts[command]!.perform!(
          // Whose problems they are is said by their path: there are many applications.
          { ...change, about() {} },
          input,
          { ...context, db: change.db } as CommandContext,
        )
      if (plan.changes.length > 0)
        await change.audit('objects-applied', plan.id, countActions(plan))
      return { id: plan.id, changes: plan.changes }
    },
  ),

  'objects.export': query(
    'Gives everything that objects can say, as objects.',
    nothing,
    async ({ db }) =>
      db
        .transaction()
        .execute(async (db) =>
          exportObjects(await readState(db, { users: undefined, groups: undefined })),
        ),
  ),
}

/** @throws ControlError `CONFIGURATION_INVALID` with every problem, each with a path such as `objects.3.name` */
async function planObjects(
  db: Db,
  { configuration, limitSteps }: Pick<CommandContext, 'configuration' | 'limitSteps'>,
  checked: CheckedObjects,
  prune: readonly ObjectKind[],
): Promise<Plan> {
  const state = await readState(db, wantedOf(checked, prune))
  const problems = [
    ...checked.problems,
    ...(await checkIds(db, checked)),
    ...checkReferences(checked, state, prune),
    ...checkTogether(configuration, checked, state, prune),
  ]
  const plan = makePlan(checked.objects, state, prune)
  // What is pruned is not known before every object is.
  if (checked.problems.length === 0) problems.push(...plan.problems)
  if (problems.length > 0)
    throw new ControlError(
      'CONFIGURATION_INVALID',
      problems.map(({ path, message }) => `${path}: ${message}`).join('\n'),
      { problems },
    )
  if (plan.steps.length > limitSteps)
    throw refuse('INPUT_INVALID', {
      path: 'objects',
      message: `need ${plan.steps.length} changes at once, and at most ${limitSteps} are possible while others wait; apply them in parts, or on SQLite while the service is stopped`,
    })
  return plan
}

/** Of a large directory only what the objects speak of is read. */
function wantedOf({ names, references }: CheckedObjects, prune: readonly ObjectKind[]) {
  const referred = references.filter(({ kind }) => kind === 'user').map(({ name }) => name)
  return {
    users: prune.includes('user') ? undefined : [...names.get('user')!, ...referred],
    groups: [...names.get('group')!],
  }
}

/**
 * Compiles the applications as they would be. One that is in the files with a problem of its own is left out,
 * stored or not: so what is found is wrong whatever its correction.
 */
function checkTogether(
  configuration: Configuration,
  { objects, names }: CheckedObjects,
  state: StoredState,
  prune: readonly ObjectKind[],
): Problem[] {
  const applications: AssignedApplication[] = []
  // Those that are stored first: of two that exclude each other, the later is blamed.
  for (const [kind, stored] of [
    ['application', state.applications],
    ['linkedApplication', state.linkedApplications],
  ] as const)
    if (!prune.includes(kind))
      for (const [name, { application }] of stored)
        if (!names.get(kind)!.has(name)) applications.push({ application, principalIds: [] })
  const indexes = new Map<string, number>()
  for (const { index, object } of objects) {
    const id = `new ${index}`
    if (object.kind === 'application') {
      const known = state.applications.get(object.name)?.application.id
      const application: Application = { ...toApplicationInput(object), id: known ?? id }
      applications.push({ application, principalIds: [] })
    } else if (object.kind === 'linkedApplication')
      applications.push({ application: { ...toLinkedApplication(object), id }, principalIds: [] })
    else continue
    indexes.set(nameOf(object), index)
  }
  // That connector groups are there was checked with the other references.
  const groups = new Set(
    applications.flatMap(({ application }) =>
      isLinked(application) ? [] : application.connectorGroup,
    ),
  )
  return configuration.problemsOf(applications, groups).map(({ path, message }) => {
    const [, name = '', field = ''] = /^applications\.([^.]+)\.(.+)$/.exec(path) ?? []
    const index = indexes.get(name)
    return index === undefined
      ? { path, message }
      : { path: `objects.${index}.${toObjectField(field)}`, message }
  })
}

function countActions({ changes }: Plan): Record<string, number> {
  const count = (action: string) => changes.filter((one) => one.action === action).length
  return { created: count('create'), updated: count('update'), deleted: count('delete') }
}
