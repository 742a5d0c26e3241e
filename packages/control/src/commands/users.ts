import { onPremisesAttributes, onPremisesSchemas } from '@sallyport/domain'
import { groups, users } from '@sallyport/store'
import { z } from 'zod'
import { type CommandDefinition, change, found, prepared, query, reference } from '../command.ts'
import { refuse } from '../errors.ts'
import { displayText, findUser } from './references.ts'

export const userName = z.string().transform(users.toUserName).refine(users.isUserName, {
  error:
    "must be 1-113 of a-z, 0-9 and . - _ ! # ^ ~ ', begin with a letter or digit, with at most one @",
})

// Long pass phrases are welcome; more than this would only be work for the hash.
const password = z.string().min(8).max(256)

export const mailAddress = z
  .email({ error: 'must be a mail address such as ana@example.com' })
  .max(254)

const { onPremisesUserPrincipalName, onPremisesSamAccountName, onPremisesDomainName } =
  onPremisesSchemas
/** What may be said of a user, or not. */
const facts = z.strictObject({
  mail: mailAddress.optional(),
  onPremisesUserPrincipalName: onPremisesUserPrincipalName.optional(),
  onPremisesSamAccountName: onPremisesSamAccountName.optional(),
  onPremisesDomainName: onPremisesDomainName.optional(),
})
const changedFacts = z.strictObject({
  mail: mailAddress.nullable().optional(),
  onPremisesUserPrincipalName: onPremisesUserPrincipalName.nullable().optional(),
  onPremisesSamAccountName: onPremisesSamAccountName.nullable().optional(),
  onPremisesDomainName: onPremisesDomainName.nullable().optional(),
})

const user = z.strictObject({ userName: reference })

export const userCommands: Record<string, CommandDefinition> = {
  'user.create': prepared(
    'Creates a user. Without a password the user cannot sign in yet.',
    z.strictObject({
      userName,
      displayName: displayText.optional(),
      ...facts.shape,
      password: password.optional(),
      enabled: z.boolean().default(true),
    }),
    async ({ hashPassword }, { password, ...input }) => {
      checkPassword(password, input.userName)
      return {
        ...input,
        displayName: input.displayName ?? input.userName,
        passwordHash: password === undefined ? undefined : await hashPassword(password),
      }
    },
    async ({ db, nowAt, audit }, input) => {
      const created = await users.createUser(db, input, nowAt)
      if (!created)
        throw refuse('CONFLICT', {
          path: 'userName',
          message: `there is a user "${input.userName}" already; choose another name`,
        })
      await audit('user-created', created.id, { userName: created.userName })
      return toResult(created)
    },
  ),

  'user.list': query(
    'Lists users by name.',
    z.strictObject({ after: z.string().optional(), limit: z.int().min(1).max(10_000).optional() }),
    async ({ db }, page) =>
      (
        await users.listUsers(db, {
          after: page.after,
          ...(page.limit === undefined ? {} : { limit: page.limit }),
        })
      ).map(toResult),
  ),

  'user.show': query('Shows a user and the groups it belongs to.', user, async ({ db }, input) => {
    const shown = await findUser(db, input.userName, 'userName')
    const memberships = await groups.transitiveGroups(db, shown.id)
    return { ...toResult(shown), groups: memberships.map(({ name }) => name) }
  }),

  'user.update': change(
    'Changes what is said of a user.',
    z.strictObject({
      userName: reference,
      displayName: displayText.optional(),
      ...changedFacts.shape,
    }),
    async ({ db, nowAt, publish, audit }, { userName: asked, ...input }) => {
      const { id, userName } = await findUser(db, asked, 'userName')
      const changes = Object.fromEntries(
        Object.entries(input).filter(([, value]) => value !== undefined),
      )
      publish(known(await users.updateUser(db, id, changes, nowAt)))
      await audit('user-updated', id, { userName, fields: Object.keys(changes) })
    },
  ),

  'user.set-password': prepared(
    'Sets the password, and ends every session of the user.',
    z.strictObject({ userName: reference, password }),
    async ({ db, hashPassword }, input) => {
      const { id, userName } = await findUser(db, input.userName, 'userName')
      checkPassword(input.password, userName)
      return { id, userName, passwordHash: await hashPassword(input.password) }
    },
    async ({ db, nowAt, publish, audit }, { id, userName, passwordHash }) => {
      publish(known(await users.setPassword(db, id, passwordHash, nowAt)))
      await audit('user-password-set', id, { userName })
    },
  ),

  'user.disable': change(
    'Disables a user, and ends every session of the user.',
    user,
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, userName } = await findUser(db, input.userName, 'userName')
      publish(known(await users.setEnabled(db, id, false, nowAt)))
      await audit('user-disabled', id, { userName })
    },
  ),

  'user.enable': change(
    'Enables a user again.',
    user,
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, userName } = await findUser(db, input.userName, 'userName')
      publish(known(await users.setEnabled(db, id, true, nowAt)))
      await audit('user-enabled', id, { userName })
    },
  ),

  'user.delete': change(
    'Deletes a user with memberships, assignments and sessions.',
    user,
    async ({ db, nowAt, publish, audit }, input) => {
      const { id, userName } = await findUser(db, input.userName, 'userName')
      publish(known(await users.deleteUser(db, id, nowAt)))
      await audit('user-deleted', id, { userName })
    },
  ),
}

function checkPassword(text: string | undefined, name: string): void {
  if (text !== undefined && text.toLowerCase() === name)
    throw refuse('INPUT_INVALID', { path: 'password', message: 'must not be the user name' })
}

/** In the transaction that found it, a user cannot have gone. After a long preparation it can. */
function known<T>(events: T | undefined): T {
  return found(events, 'userName', 'the user was deleted in the meantime')
}

function toResult(row: users.User) {
  return {
    userName: row.userName,
    displayName: row.displayName,
    mail: row.mail ?? null,
    ...Object.fromEntries(onPremisesAttributes.map((name) => [name, row[name] ?? null])),
    enabled: row.enabled,
    hasPassword: row.hasPassword,
    id: row.id,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
  }
}
