import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ListedSession, notSignedInPage, sessionsPage } from '@sallyport/domain'
import { type Store, sessions, users } from '@sallyport/store'
import type Provider from 'oidc-provider'

export interface OwnSessionsParts {
  db: Store['db']
  provider: Provider
  portalOrigin: string
  clock(): number
  endSession(sessionId: string, reason: string): Promise<unknown>
}

/** The page on which people see where they are signed in, and end what they do not want. */
export class OwnSessions {
  readonly #parts: OwnSessionsParts

  constructor(parts: OwnSessionsParts) {
    this.#parts = parts
  }

  /** @param ended how many the request before has ended, if it was about that */
  async show(
    request: IncomingMessage,
    response: ServerResponse,
    ended: number | undefined,
  ): Promise<string> {
    const { portalOrigin, clock } = this.#parts
    const found = await this.#find(request, response)
    if (!found) return notSignedInPage({ portalUrl: `${portalOrigin}/` })
    return sessionsPage({
      displayName: found.displayName,
      userName: found.userName,
      nowAt: clock(),
      sessions: found.rows.map(({ listed }) => listed),
      notice: ended === undefined ? undefined : noticeOf(ended),
      portalUrl: `${portalOrigin}/`,
      signOutUrl: `${portalOrigin}/.sallyport/signout`,
    })
  }

  /**
   * @param end the handle of one session, or `others`
   * @returns how many have ended
   */
  async end(request: IncomingMessage, response: ServerResponse, end: string): Promise<number> {
    const { endSession } = this.#parts
    const found = await this.#find(request, response)
    // Only among one's own, and never the one that asks: that is what signing out is for.
    const chosen = (found?.rows ?? []).filter(
      ({ listed }) => !listed.isCurrent && (end === 'others' || listed.handle === end),
    )
    for (const { id } of chosen) await endSession(id, 'signed-out-elsewhere')
    return chosen.length
  }

  async #find(request: IncomingMessage, response: ServerResponse) {
    const { db, provider, clock } = this.#parts
    const { accountId, uid } = await provider.Session.get(provider.createContext(request, response))
    if (accountId === undefined) return undefined
    const rows = await sessions.listSessions(db, { userId: accountId, liveAt: clock() })
    const user = await users.findUserById(db, accountId)
    // The cookie may belong to a session that ended a moment ago.
    if (!user || !rows.some(({ id }) => id === uid)) return undefined
    const { displayName, userName } = user
    return {
      displayName,
      userName,
      rows: rows
        .map((row) => ({ id: row.id, listed: toListed(row, uid) }))
        .sort((a, b) => Number(b.listed.isCurrent) - Number(a.listed.isCurrent)),
    }
  }
}

function noticeOf(ended: number): string {
  if (ended === 0) return 'That session had ended already.'
  return ended === 1 ? 'One session has ended.' : `${ended} sessions have ended.`
}

function toListed(row: sessions.SessionRow, currentId: string): ListedSession {
  return {
    handle: createHash('sha256').update(`session ${row.id}`).digest('base64url').slice(0, 22),
    userAgent: row.userAgent,
    clientAddress: row.clientAddress,
    signedInAt: row.signedInAt,
    lastUsedAt: row.lastUsedAt ?? row.signedInAt,
    isCurrent: row.id === currentId,
  }
}
