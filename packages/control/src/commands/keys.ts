import { z } from 'zod'
import { rotateAssertionKeys } from '../assertion-keys.ts'
import { type CommandDefinition, nothing, parseInput, query } from '../command.ts'
import { rotateCookieKeys } from '../cookie-keys.ts'

const use = z.enum(['cookies', 'assertions']).default('cookies')
const rotation = z.strictObject({ use, forgetOlder: z.boolean().default(false) }).prefault({})

export const keyCommands: Record<string, CommandDefinition> = {
  'key.list': query(
    'Lists the keys of one use, the newest first.',
    z.strictObject({ use }).prefault({}),
    async (context, input) =>
      input.use === 'cookies' ? context.cookieKeys.list() : context.assertionKeys.list(),
  ),

  'key.jwks': query(
    'The keys by which origins check assertions, as a JWK set.',
    nothing,
    async ({ assertionKeys }) => ({ keys: assertionKeys.ring().published }),
  ),

  'key.rotate': {
    summary:
      'Makes a new key for cookies, or for assertions. Nobody has to sign in again, unless older keys are forgotten.',
    changes: true,
    input: rotation,
    async run({ configuration, cookieKeys, assertionKeys, keyFile, db }, value, actor) {
      const { use, forgetOlder } = parseInput(rotation, value)
      const rotate = use === 'cookies' ? rotateCookieKeys : rotateAssertionKeys
      const id = await configuration.change(actor, async ({ db, nowAt, publish, audit }) => {
        const rotated = await rotate(db, keyFile, nowAt, forgetOlder)
        publish(rotated.events)
        await audit(
          use === 'cookies' ? 'cookie-key-rotated' : 'assertion-key-rotated',
          rotated.id,
          { forgetOlder },
        )
        return rotated.id
      })
      await (use === 'cookies' ? cookieKeys : assertionKeys).reload(db)
      return { id }
    },
  },
}
