import { isLinked, type Problem } from '@sallyport/domain'
import { applications, credentials } from '@sallyport/store'
import type { Configuration, Db } from './configuration.ts'
import { deleteCredential, setCredential } from './credential-vault.ts'
import { ControlError } from './errors.ts'
import type { SealingKeys } from './sealing-keys.ts'

/** The passwords that people enter for themselves. */
export function ownPasswords({
  db,
  configuration,
  sealingKeys,
}: {
  db: Db
  configuration: Configuration
  sealingKeys: SealingKeys
}) {
  return {
    async set(input: {
      applicationId: string
      userId: string
      userName: string
      password: string
    }): Promise<readonly Problem[]> {
      const { applicationId, userId, ...credential } = input
      try {
        await configuration.change(`user:${userId}`, async (change) => {
          const found = await applications.findApplicationById(change.db, applicationId)
          if (!found || isLinked(found.application))
            throw new ControlError('NOT_FOUND', `there is no application ${applicationId}`)
          await setCredential(change, sealingKeys, {
            application: found.application,
            subject: { id: userId, kind: 'user' },
            credential,
            setBy: 'person',
          })
        })
        return []
      } catch (error) {
        if (error instanceof ControlError && error.problems.length > 0) return error.problems
        throw error
      }
    },

    async remove({ applicationId, userId }: { applicationId: string; userId: string }) {
      await configuration.change(`user:${userId}`, async (change) => {
        const found = await applications.findApplicationById(change.db, applicationId)
        const subject = { id: userId, kind: 'user' } as const
        if (
          !found ||
          isLinked(found.application) ||
          !(await credentials.findCredential(change.db, applicationId, subject))
        )
          return
        await deleteCredential(change, found.application, subject)
      })
    },

    async countKeepers(connectorGroup: string): Promise<number> {
      return (await sealingKeys.recipients(db, connectorGroup)).length
    },
  }
}
