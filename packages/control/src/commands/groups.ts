import { groups } from '@sallyport/store'
import { z } from 'zod'
import { type CommandDefinition, change, found, nothing, query, reference } from '../command.ts'
import { refuse } from '../errors.ts'
import { displayText, findGroup, findPrincipal } from './references.ts'

const group = z.strictObject({ name: reference })

const membership = z.strictObject({
  /** The group that gets or loses a member. */
  group: reference,
  user: reference.optional(),
  memberGroup: reference.optional(),
})

export const groupCommands: Record<string, CommandDefinition> = {
  'group.create': change(
    'Creates a group.',
    z.strictObject({ name: displayText }),
    async ({ db, nowAt, audit }, { name }) => {
      const created = await groups.createGroup(db, { name }, nowAt)
      if (!created) throw nameTaken('name', name)
      await audit('group-created', created.id, { name })
      return { name: created.name, id: created.id, createdAt: created.createdAt }
    },
  ),

  'group.list': query('Lists groups by name.', nothing, async ({ db }) =>
    (await groups.listGroups(db)).map(({ id, name, createdAt }) => ({ name, id, createdAt })),
  ),

  'group.show': query('Shows a group and its direct members.', group, async ({ db }, input) => {
    const { id, name, createdAt } = await findGroup(db, input.name, 'name')
    const members = await groups.listNamedMembers(db, [id])
    const ofKind = (kind: 'user' | 'group') =>
      members.filter((member) => member.kind === kind).map((member) => member.name)
    return { name, id, createdAt, users: ofKind('user'), groups: ofKind('group') }
  }),

  'group.members': query(
    'Lists the direct members of a group, or all users in it through groups of any depth.',
    z.strictObject({ name: reference, transitive: z.boolean().default(false) }),
    async ({ db }, input) => {
      const { id } = await findGroup(db, input.name, 'name')
      const members = input.transitive
        ? await groups.listUsersBelow(db, id)
        : await groups.listNamedMembers(db, [id])
      return members.map(({ kind, name, id }) => ({ kind, name, id }))
    },
  ),

  'group.update': change(
    'Gives a group another name. Members and assignments stay.',
    z.strictObject({ name: reference, newName: displayText }),
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, name } = await findGroup(db, input.name, 'name')
      const events = await groups.renameGroup(db, id, input.newName, nowAt)
      if (!events) throw nameTaken('newName', input.newName)
      publish(events)
      await audit('group-updated', id, { from: name, to: input.newName })
    },
  ),

  'group.delete': change(
    'Deletes a group with its memberships and assignments.',
    group,
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, name } = await findGroup(db, input.name, 'name')
      publish(found(await groups.deleteGroup(db, id, nowAt), 'name', 'was deleted'))
      await audit('group-deleted', id, { name })
    },
  ),

  'group.add-member': change(
    'Makes a user or a group a member of a group.',
    membership,
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, name } = await findGroup(db, input.group, 'group')
      const member = await findPrincipal(db, input.user, input.memberGroup, 'memberGroup')
      if (member.id === id)
        throw refuse('INPUT_INVALID', {
          path: 'memberGroup',
          message: 'a group cannot be a member of itself',
        })
      publish(found(await groups.addMember(db, id, member, nowAt), 'group', 'was deleted'))
      await audit('group-member-added', id, {
        name,
        member: member.id,
        memberName: member.name,
        kind: member.kind,
      })
    },
  ),

  'group.remove-member': change(
    'Ends the direct membership of a user or a group.',
    membership,
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, name } = await findGroup(db, input.group, 'group')
      const member = await findPrincipal(db, input.user, input.memberGroup, 'memberGroup')
      const path = member.kind === 'user' ? 'user' : 'memberGroup'
      publish(
        found(
          await groups.removeMember(db, id, member, nowAt),
          path,
          `${member.name} is no direct member of ${name}; see: sallyport group show`,
        ),
      )
      await audit('group-member-removed', id, {
        name,
        member: member.id,
        memberName: member.name,
        kind: member.kind,
      })
    },
  ),
}

function nameTaken(path: string, name: string) {
  return refuse('CONFLICT', {
    path,
    message: `there is a group "${name}" already; choose another name`,
  })
}
