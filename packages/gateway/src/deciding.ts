import {
  type CompiledApplication,
  type Decision,
  decide,
  type SignInReason,
  TargetError,
} from '@sallyport/domain'
import type { Exchange } from './exchange.ts'

/** An application may take so long to answer a message of sign-out. */
const logoutDeliveryMs = 60_000

/**
 * Decides a request by the application and the session that were found for it.
 *
 * @param sessionReason why there is no session, if there is none
 */
export function decideRequest(
  { gateway, match, session, at }: Exchange,
  sessionReason: SignInReason,
  deliversLogout: boolean,
): Decision {
  return decide(match?.compiled, session, {
    nowAt: at,
    sessionReason,
    deliversLogout,
    feedIsSilent: gateway.feed.isSilent(),
  })
}

/**
 * Decides an open exchange again, as if its request came now: by the configuration in force, and by the session
 * instead of the cookie that it began with.
 *
 * @param nowAt epoch milliseconds
 */
export function decideOpen(exchange: Exchange, deliversLogout: boolean, nowAt: number): Decision {
  const { gateway, session, at } = exchange
  const ended = session && gateway.sessions.hasEnded(session)
  return decide(
    findAgain(exchange),
    session && !ended ? { ...session, expiresAt: session.absoluteExpiresAt } : undefined,
    {
      nowAt,
      sessionReason: session ? 'session-ended' : 'session-missing',
      deliversLogout: deliversLogout && nowAt - at < logoutDeliveryMs,
      feedIsSilent: gateway.feed.isSilent(),
    },
  )
}

/** The application as it is now; undefined when the request would find another one, or none. */
function findAgain({ gateway, host, target, compiled }: Exchange): CompiledApplication | undefined {
  try {
    const found = gateway.view().findApplication(host, target!)?.compiled
    return found?.application.id === compiled.application.id ? found : undefined
  } catch (error) {
    if (error instanceof TargetError) return undefined
    throw error
  }
}
