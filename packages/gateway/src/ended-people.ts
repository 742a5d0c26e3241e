import type { AccessEvent } from '@sallyport/domain'
import { type StreamHandler, TunnelError } from '@sallyport/protocol'
import type { ConnectedTunnel } from './tunnels.ts'

/** IDs in one OPEN, which holds 64 KiB; an ID is a UUID. */
const limitIds = 500

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
    for (let start = 0; start < Math.max(users.length, sessions.length); start += limitIds) {
      const forget = {
        users: users.slice(start, start + limitIds),
        sessions: sessions.slice(start, start + limitIds),
      }
      const openText = `\0${JSON.stringify({ v: 1, forget })}`
      for (const { session } of tunnels) {
        // One that is full or closing has its own end in sight, and tickets there live for minutes.
        if (!session.draining)
          trySend(() => session.openStream(openText, nobody).sendHead('FORGET', true))
      }
    }
  }
}

function trySend(send: () => void): void {
  try {
    send()
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error
  }
}

/** Nothing of the answer matters. */
const nobody: StreamHandler = {
  onHead: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onWritable: () => undefined,
  onReset: () => undefined,
}
