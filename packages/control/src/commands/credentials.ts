import { credentials, groups, users } from '@sallyport/store'
import { z } from 'zod'
import { type CommandDefinition, change, query, reference } from '../command.ts'
import { deleteCredential, setCredential } from '../credential-vault.ts'
import { findPrincipal, findPublished } from './references.ts'

const subject = {
  application: reference,
  user: reference.optional(),
  group: reference.optional(),
}

export const credentialCommands: Record<string, CommandDefinition> = {
  'credential.set': change(
    'Keeps a password for an application, for a user or shared by a group. Nobody can read it again.',
    z.strictObject({ ...subject, userName: z.string(), password: z.string() }),
    async (change, { userName, password, ...input }, { sealingKeys }) => {
      const application = await findPublished(change.db, input.application, 'application')
      const principal = await findPrincipal(change.db, input.user, input.group, 'group')
      const connectors = await setCredential(change, sealingKeys, {
        application,
        subject: principal,
        credential: { userName, password },
        setBy: 'administrator',
      })
      return { connectors }
    },
  ),

  'credential.list': query(
    'Lists for whom passwords are kept; never the passwords themselves.',
    z.strictObject({ application: reference.optional() }),
    async ({ db }, input) => {
      const only =
        input.application === undefined
          ? undefined
          : await findPublished(db, input.application, 'application')
      const rows = await credentials.listCredentials(db, only ? { applicationId: only.id } : {})
      return Promise.all(
        rows.map(async (row) => ({
          application: (await findPublished(db, row.applicationId, 'application')).name,
          kind: row.subjectKind,
          name:
            row.subjectKind === 'user'
              ? ((await users.findUserById(db, row.subjectId))?.userName ?? null)
              : ((await groups.findGroupById(db, row.subjectId))?.name ?? null),
          setBy: row.setBy,
          updatedAt: row.updatedAt,
          refusedAt: row.refusedAt ?? null,
          connectors: (await credentials.listCopies(db, row.id)).length,
        })),
      )
    },
  ),

  'credential.delete': change(
    'Forgets the password that is kept for a user or a group.',
    z.strictObject(subject),
    async (change, input) => {
      const application = await findPublished(change.db, input.application, 'application')
      const principal = await findPrincipal(change.db, input.user, input.group, 'group')
      await deleteCredential(change, application, principal)
    },
  ),
}
