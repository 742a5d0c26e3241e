import type { AccessEvent, Claims, IdentitySession, Session } from '@sallyport/domain'
import type { SessionFacts } from './session-cookie.ts'

/** A session's claims, as long as nothing said that they changed. */
interface Known {
  claims: Claims
  principalIds: readonly string[]
  /** The claims joined with the cookie they were last asked for. */
  joined: { facts: SessionFacts; session: Session } | undefined
}

/** Where sessions come from; identity implements it. */
export interface SessionSource {
  /** @returns undefined when the session has ended, for whatever reason */
  readSession(sessionId: string): Promise<IdentitySession | undefined>
}

/**
 * What the gateway knows of sessions without asking: which have ended, and the claims of those in use.
 */
export class Sessions {
  readonly #source: SessionSource
  readonly #known = new Map<string, Known>()
  readonly #reading = new Map<string, Promise<IdentitySession | undefined>>()
  readonly #endedAt = new Map<string, number>()
  readonly #epochs = new Map<string, { signInEpoch: number; at: number }>()
  readonly #limit: number

  constructor(source: SessionSource, limit = 50_000) {
    this.#source = source
    this.#limit = limit
  }

  /** Whether an event has ended the session. */
  hasEnded(facts: Pick<SessionFacts, 'sessionId' | 'userId' | 'signInEpoch'>): boolean {
    if (this.#endedAt.has(facts.sessionId)) return true
    const epoch = this.#epochs.get(facts.userId)
    return epoch !== undefined && facts.signInEpoch < epoch.signInEpoch
  }

  /** @returns undefined when the claims are not at hand: then `read` */
  find(facts: SessionFacts): Session | undefined {
    const known = this.#known.get(facts.sessionId)
    if (!known) return undefined
    if (known.joined?.facts !== facts)
      known.joined = {
        facts,
        session: { ...facts, claims: known.claims, principalIds: known.principalIds },
      }
    return known.joined.session
  }

  /** Joins a cookie with claims that are not kept. */
  join(facts: SessionFacts, { claims, userId }: IdentitySession): Session {
    return { ...facts, claims, principalIds: principalsOf(userId, claims) }
  }

  /** Asks identity; many requests that miss at once make one question. */
  read(sessionId: string): Promise<IdentitySession | undefined> {
    const underWay = this.#reading.get(sessionId)
    if (underWay) return underWay
    const reading = this.#source
      .readSession(sessionId)
      .then((session) => {
        // An event that came meanwhile has removed the promise: its answer may be older than the event.
        if (session && this.#reading.get(sessionId) === reading) this.remember(session)
        return session
      })
      .finally(() => {
        if (this.#reading.get(sessionId) === reading) this.#reading.delete(sessionId)
      })
    this.#reading.set(sessionId, reading)
    return reading
  }

  remember(session: IdentitySession): void {
    this.#known.delete(session.sessionId)
    if (this.#known.size >= this.#limit)
      this.#known.delete(this.#known.keys().next().value as string)
    this.#known.set(session.sessionId, {
      claims: session.claims,
      principalIds: principalsOf(session.userId, session.claims),
      joined: undefined,
    })
  }

  /** Takes in what the feed says. */
  apply(event: AccessEvent): void {
    if (event.kind === 'session-ended') {
      this.#endedAt.set(event.sessionId, event.at)
      this.#forget((sessionId) => sessionId === event.sessionId)
    } else if (event.kind === 'user-epoch') {
      const known = this.#epochs.get(event.userId)
      if (!known || known.signInEpoch < event.signInEpoch)
        this.#epochs.set(event.userId, { signInEpoch: event.signInEpoch, at: event.at })
      this.#forget((_, known) => known?.claims.objectId === event.userId)
    } else if (event.kind === 'claims-changed') {
      this.#forget((_, known) => known?.claims.objectId === event.userId)
    }
  }

  #forget(concerns: (sessionId: string, known?: Known) => boolean): void {
    for (const [sessionId, known] of this.#known)
      if (concerns(sessionId, known)) this.#known.delete(sessionId)
    // Whose session a question is about is not known before its answer: none of them may be cached.
    this.#reading.clear()
  }

  /** Forgets endings that no cookie can outlive. @param lifetimeMs the absolute limit of sessions */
  prune(nowAt: number, lifetimeMs: number): void {
    for (const [sessionId, at] of this.#endedAt)
      if (at + lifetimeMs < nowAt) this.#endedAt.delete(sessionId)
    for (const [userId, { at }] of this.#epochs)
      if (at + lifetimeMs < nowAt) this.#epochs.delete(userId)
  }
}

function principalsOf(userId: string, claims: Claims): string[] {
  return [userId, ...claims.groups.map(({ id }) => id)]
}
