import type { IncomingMessage } from 'node:http'
import type { CompiledApplication, IdentitySession } from '@sallyport/domain'
import { AuditNotices, audit, type Store, users } from '@sallyport/store'
import { addressKey } from './rate-limit.ts'
import { toSignOnEvent } from './sign-on-audit.ts'
import type { SignOnRefusal } from './sign-on-refusal.ts'
import { visitOf } from './visit.ts'

/** Why a sign-in failed. People are told `invalid` for the first four of them. */
export type SignInFailure =
  | 'user-unknown'
  | 'user-disabled'
  | 'password-missing'
  | 'password-wrong'
  | 'rate-limited'
  | 'overloaded'

interface SignInAuditOptions {
  db: Store['db']
  clock(): number
  /** Hears of each sign-in: `succeeded`, or why not. */
  onSignIn(outcome: string): void
}

/** What identity writes into the audit log: sign-ins, failed ones and why, and sessions that ended. */
export class SignInAudit {
  readonly #db: Store['db']
  readonly #clock: () => number
  readonly #onSignIn: (outcome: string) => void
  readonly #notices: AuditNotices

  constructor({ db, clock, onSignIn }: SignInAuditOptions) {
    this.#db = db
    this.#clock = clock
    this.#onSignIn = onSignIn
    this.#notices = new AuditNotices({ db, clock })
  }

  /**
   * A name that nobody has is not written down: people type passwords into that field. Attempts that cost
   * us nothing are counted and not written one by one, or a stranger could fill the disk.
   *
   * @param applicationId where the person wanted to go
   * @param user undefined when nobody has the name that was typed
   */
  async failed(
    request: IncomingMessage,
    applicationId: string,
    user: { userId: string; userName: string } | undefined,
    reason: SignInFailure,
  ): Promise<void> {
    this.#onSignIn(reason)
    const { correlationId, clientAddress } = visitOf(request)
    const event = {
      kind: 'sign-in-failed',
      actor: user?.userName ?? `address:${clientAddress}`,
      subject: applicationId,
      detail: {
        reason,
        correlationId,
        clientAddress,
        ...(user ? { userId: user.userId } : {}),
      },
    }
    if (reason === 'rate-limited' || reason === 'overloaded')
      await this.#notices.record(`${reason} ${addressKey(clientAddress)}`, event)
    else await audit.recordAudit(this.#db, { ...event, at: this.#clock() })
  }

  /** A sign-in that did not begin in this browser, or a form from another site: somebody may be tricked. */
  async refused(request: IncomingMessage, reason: string, explanation?: string): Promise<void> {
    this.#onSignIn(reason)
    const { correlationId, clientAddress } = visitOf(request)
    await this.#notices.record(`${reason} ${addressKey(clientAddress)}`, {
      kind: 'sign-in-refused',
      actor: `address:${clientAddress}`,
      subject: 'sign-in',
      detail: {
        reason,
        correlationId,
        clientAddress,
        ...(explanation === undefined ? {} : { explanation }),
      },
    })
  }

  /** Somebody whom the application's server is not told of; it may ask again and again. */
  async tokenRefused(
    request: IncomingMessage,
    compiled: CompiledApplication,
    session: IdentitySession,
    refusal: SignOnRefusal,
  ): Promise<void> {
    await this.#notices.record(
      `${refusal.reason} ${compiled.application.id} ${session.userId}`,
      toSignOnEvent(request, 'oidc-sign-on-refused', compiled, session, { ...refusal }),
    )
  }

  /** A session that began, in the transaction that made it. */
  async signedIn(
    db: Store['db'],
    request: IncomingMessage,
    facts: {
      sessionId: string
      userId: string
      userName: string
      applicationId: string
      methods: readonly string[]
      at: number
    },
  ): Promise<void> {
    this.#onSignIn('succeeded')
    const { sessionId, userId, userName, applicationId, methods, at } = facts
    const { correlationId, clientAddress } = visitOf(request)
    await audit.recordAudit(db, {
      at,
      kind: 'signed-in',
      actor: userName,
      subject: applicationId,
      detail: { sessionId, userId, methods, correlationId, clientAddress },
    })
  }
}

/** A session that ended, in the transaction that ended it; `signed-out` when its owner wanted that. */
export async function recordSessionEnd(
  db: Store['db'],
  {
    sessionId,
    userId,
    reason,
    at,
  }: { sessionId: string; userId: string; reason: string; at: number },
): Promise<void> {
  const user = await users.findUserById(db, userId)
  await audit.recordAudit(db, {
    at,
    kind: reason === 'signed-out' ? 'signed-out' : 'session-ended',
    actor: user?.userName ?? userId,
    subject: sessionId,
    detail: { reason, userId, ...(user ? { userName: user.userName } : {}) },
  })
}
