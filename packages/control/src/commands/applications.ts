import { randomUUID } from 'node:crypto'
import {
  type Application,
  applicationSchema,
  isLinked,
  type LinkedApplication,
  linkedApplicationSchema,
} from '@sallyport/domain'
import { applications } from '@sallyport/store'
import { z } from 'zod'
import {
  type CommandDefinition,
  change,
  nothing,
  parseInput,
  query,
  reference,
} from '../command.ts'
import type { Change } from '../configuration.ts'
import { refuse } from '../errors.ts'
import { displayText, findApplication, findPrincipal } from './references.ts'

const application = z.strictObject({ name: reference })

const assignment = z.strictObject({
  name: reference,
  user: reference.optional(),
  group: reference.optional(),
})

const creation = z.strictObject({
  ...applicationSchema.shape,
  id: applicationSchema.shape.id.optional(),
  displayName: displayText.optional(),
})

const linkCreation = z.strictObject({
  ...linkedApplicationSchema.shape,
  id: applicationSchema.shape.id.optional(),
  displayName: displayText.optional(),
})

export const applicationCommands: Record<string, CommandDefinition> = {
  'app.create': change('Publishes an application.', creation, async (change, input) => {
    const created: Application = {
      ...input,
      id: input.id ?? randomUUID(),
      displayName: input.displayName ?? input.name,
    }
    await create(change, created)
    return created
  }),

  'app.create-linked': change(
    'Makes a tile that leads to an application that is not published.',
    linkCreation,
    async (change, input) => {
      const created: LinkedApplication = {
        ...input,
        id: input.id ?? randomUUID(),
        displayName: input.displayName ?? input.name,
      }
      await create(change, created)
      return created
    },
  ),

  'app.update': change(
    'Changes fields of an application; null sets one back to its default.',
    z.strictObject({ name: reference, set: z.record(z.string(), z.unknown()) }),
    async (change, input) => {
      const { application: old } = await findApplication(change.db, input.name, 'name')
      if ('id' in input.set && input.set.id !== old.id)
        throw refuse('INPUT_INVALID', { path: 'id', message: 'cannot be changed' })
      const merged = Object.entries({ ...old, ...input.set }).filter(([, value]) => value !== null)
      const wanted = Object.fromEntries(merged)
      const updated = isLinked(old)
        ? parseInput(linkedApplicationSchema, wanted)
        : parseInput(applicationSchema, wanted)
      parseInput(z.object({ displayName: displayText }), updated)
      change.about(updated.name)
      if ((await applications.updateApplication(change.db, updated, change.nowAt)) !== 'updated')
        throw nameTaken(updated.name)
      publish(change)
      await change.audit('application-updated', updated.id, {
        name: updated.name,
        fields: Object.keys(input.set),
      })
      return updated
    },
  ),

  'app.list': query('Lists applications by name.', nothing, async ({ db }) => {
    const assignments = Map.groupBy(
      await applications.listAssignments(db),
      ({ applicationId }) => applicationId,
    )
    return (await applications.listApplications(db)).map(({ application }) => ({
      name: application.name,
      displayName: application.displayName,
      ...(isLinked(application)
        ? { linkedUrl: application.linkedUrl }
        : {
            externalUrl: application.externalUrl,
            internalUrl: application.internalUrl,
            preAuthentication: application.preAuthentication,
            connectorGroup: application.connectorGroup,
          }),
      ...namesOf(assignments.get(application.id) ?? []),
      id: application.id,
    }))
  }),

  'app.show': query('Shows an application in full.', application, async ({ db }, { name }) => {
    const shown = await findApplication(db, name, 'name')
    return {
      ...shown.application,
      ...namesOf(await applications.listAssignments(db, shown.application.id)),
      createdAt: shown.createdAt,
      updatedAt: shown.updatedAt,
    }
  }),

  'app.delete': change(
    'Deletes an application with its assignments.',
    application,
    async (change, input) => {
      const { application } = await findApplication(change.db, input.name, 'name')
      await applications.deleteApplication(change.db, application.id)
      publish(change)
      await change.audit('application-deleted', application.id, { name: application.name })
    },
  ),

  'app.assign': change(
    'Lets a user or a group use an application.',
    assignment,
    async (change, input) => {
      const { application } = await findApplication(change.db, input.name, 'name')
      const principal = await findPrincipal(change.db, input.user, input.group, 'group')
      if (!(await applications.assign(change.db, application.id, principal))) return
      publish(change)
      await change.audit('application-assigned', application.id, {
        name: application.name,
        principal: principal.id,
        principalName: principal.name,
        kind: principal.kind,
      })
    },
  ),

  'app.unassign': change(
    'Takes an application from a user or a group.',
    assignment,
    async (change, input) => {
      const { application } = await findApplication(change.db, input.name, 'name')
      const principal = await findPrincipal(change.db, input.user, input.group, 'group')
      if (!(await applications.unassign(change.db, application.id, principal)))
        throw refuse('NOT_FOUND', {
          path: principal.kind,
          message: `${principal.name} is not assigned to ${application.name} itself; see: sallyport app show ${application.name}`,
        })
      publish(change)
      await change.audit('application-unassigned', application.id, {
        name: application.name,
        principal: principal.id,
        principalName: principal.name,
        kind: principal.kind,
      })
    },
  ),
}

async function create(change: Change, created: Application | LinkedApplication): Promise<void> {
  change.about(created.name)
  if (await applications.findApplicationById(change.db, created.id))
    throw refuse('CONFLICT', { path: 'id', message: 'is used by another application' })
  if (!(await applications.createApplication(change.db, created, change.nowAt)))
    throw nameTaken(created.name)
  publish(change)
  await change.audit('application-created', created.id, { name: created.name })
}

function publish(change: Change): void {
  change.publish([{ kind: 'configuration-changed', at: change.nowAt }])
}

function nameTaken(name: string) {
  return refuse('CONFLICT', {
    path: 'name',
    message: `there is an application "${name}" already; choose another name`,
  })
}

function namesOf(assigned: readonly applications.Assignment[]) {
  const ofKind = (kind: 'user' | 'group') =>
    assigned.filter((one) => one.kind === kind).map(({ name }) => name)
  return { users: ofKind('user'), groups: ofKind('group') }
}
