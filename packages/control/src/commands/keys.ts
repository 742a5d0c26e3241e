import { z } from 'zod'
import { type CommandDefinition, nothing, parseInput, query } from '../command.ts'
import { rotateCookieKeys } from '../cookie-keys.ts'

const rotation = z.strictObject({ forgetOlder: z.boolean().default(false) }).prefault({})

export const keyCommands: Record<string, CommandDefinition> = {
  'key.list': query(
    'Lists the keys of cookies, the one that seals first.',
    nothing,
    async (context) => context.cookieKeys.list(),
  ),

  'key.rotate': {
    summary:
      'Makes a new key for cookies. Nobody has to sign in again, unless older keys are forgotten.',
    changes: true,
    input: rotation,
    async run({ configuration, cookieKeys, keyFile, db }, value, actor) {
      const { forgetOlder } = parseInput(rotation, value)
      const id = await configuration.change(actor, async ({ db, nowAt, publish, audit }) => {
        const rotated = await rotateCookieKeys(db, keyFile, nowAt, forgetOlder)
        publish(rotated.events)
        await audit('cookie-key-rotated', rotated.id, { forgetOlder })
        return rotated.id
      })
      await cookieKeys.reload(db)
      return { id }
    },
  },
}
