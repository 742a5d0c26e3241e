import { authnContexts } from './names.ts'
import type { RequestedContext } from './request.ts'

/** The classes that a sign-in with a password over TLS belongs to, weakest first. */
const reached: readonly string[] = [
  authnContexts.unspecified,
  authnContexts.password,
  authnContexts.passwordProtectedTransport,
]
const best = authnContexts.passwordProtectedTransport

/**
 * The class to answer with. Of classes that no sign-in here belongs to it is not known whether they are stronger, so they
 * count as such.
 *
 * @returns undefined when the person has not signed in as the service provider wants
 */
export function findAuthnContext(requested: RequestedContext | undefined): string | undefined {
  if (!requested || requested.classes.length === 0) return best
  const { comparison, classes } = requested
  const ours = classes.filter((each) => reached.includes(each))
  switch (comparison) {
    case 'exact':
      // The service provider finds in the answer what it asked for.
      return ours.includes(best) ? best : ours[0]
    case 'minimum':
      return ours.length > 0 ? best : undefined
    case 'maximum':
      return ours.length > 0 ? ours.toSorted(byStrength).at(-1) : best
    case 'better':
      return ours.length === classes.length && !ours.includes(best) ? best : undefined
  }
}

function byStrength(a: string, b: string): number {
  return reached.indexOf(a) - reached.indexOf(b)
}
