import type { AccessEvent } from '@sallyport/domain'
import { limitForgotten, sendForgotten } from './forgetting.ts'
import type { ConnectedTunnel } from './tunnels.ts'

/**
 * Whose access has ended or changed: connectors are told, so that nothing is kept there by which the person could still be
 * signed on. Access does not rest on it: without a new assertion no connector signs anybody on.
 */
export class EndedPeople {
  readonly #users = new Set<string>()
  readonly #sessions = new Set<string>()

  note(event: AccessEvent): void {
    if (event.kind === 'session-ended') this.#sessions.add(event.sessionId)
    else if (event.kind === 'user-epoch' || event.kind === 'claims-changed')
      this.#users.add(event.userId)
  }

  /** Tells the connectors of all who were noted since this was last done. */
  tell(tunnels: readonly ConnectedTunnel[]): void {
    const users = [...this.#users]
    const sessions = [...this.#sessions]
    this.#users.clear()
    this.#sessions.clear()
    const count = Math.max(users.length, sessions.length)
    for (let start = 0; start < count; start += limitForgotten) {
      const forgotten = {
        users: users.slice(start, start + limitForgotten),
        sessions: sessions.slice(start, start + limitForgotten),
      }
      for (const { session } of tunnels) sendForgotten(session, forgotten)
    }
  }
}
