import type { AccessEvent, Claims, DenySet, IdentitySession, Session } from '@sallyport/domain'
import type { SessionFacts } from './session-cookie.ts'

/** A session's claims, as long as nothing said that they changed. */
interface Known {
  userId: string
  claims: Claims
  principalIds: readonly string[]
  /** The claims joined with the cookie they were last asked for. */
  joined: { facts: SessionFacts; session: Session } | undefined
  /** Since that was last asked. */
  isUsed: boolean
}

/** A question to identity that is under way. */
interface Reading {
  userId: string
  /** An event came that the answer may not know of. */
  isStale: boolean
  answer?: Promise<IdentitySession | undefined>
}

/** Where sessions come from; identity implements it. */
export interface SessionSource {
  /** @returns undefined when the session has ended, for whatever reason */
  readSession(sessionId: string): Promise<IdentitySession | undefined>
}

/** How often a question is asked that events make stale while it is under way. */
const limitAttempts = 5

/**
 * What the gateway knows of sessions without asking: which have ended, and the claims of those in use.
 */
export class Sessions {
  readonly #source: SessionSource
  readonly #known = new Map<string, Known>()
  readonly #knownOfUser = new Map<string, Set<string>>()
  readonly #reading = new Map<string, Reading>()
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
    if (!known || known.userId !== facts.userId) return undefined
    known.isUsed = true
    if (known.joined?.facts !== facts)
      known.joined = {
        facts,
        session: { ...facts, claims: known.claims, principalIds: known.principalIds },
      }
    return known.joined.session
  }

  /** Whether nothing has been said since that may have changed the session's claims. */
  isCurrent({ sessionId, claims }: Session): boolean {
    return this.#known.get(sessionId)?.claims === claims
  }

  /** The claims that are kept. */
  *claims(): Generator<Claims> {
    for (const { claims } of this.#known.values()) yield claims
  }

  /** Joins a cookie with claims that are not kept. */
  join(facts: Omit<SessionFacts, 'sealedAt'>, { claims, userId }: IdentitySession): Session {
    return { ...facts, claims, principalIds: principalsOf(userId, claims) }
  }

  /**
   * Asks identity, and keeps the claims; many requests that miss at once make one question. The answer knows of
   * every event that has come when it is given.
   *
   * @throws whatever the source rejects with; Error when events come faster than answers
   */
  read({
    sessionId,
    userId,
  }: Pick<SessionFacts, 'sessionId' | 'userId'>): Promise<IdentitySession | undefined> {
    const underWay = this.#reading.get(sessionId)
    if (underWay?.answer) return underWay.answer
    const reading: Reading = { userId, isStale: false }
    this.#reading.set(sessionId, reading)
    const answer = this.#ask(sessionId, reading).finally(() => this.#reading.delete(sessionId))
    reading.answer = answer
    return answer
  }

  async #ask(sessionId: string, reading: Reading): Promise<IdentitySession | undefined> {
    for (let attempt = 0; attempt < limitAttempts; attempt += 1) {
      reading.isStale = false
      const session = await this.#source.readSession(sessionId)
      if (session && session.userId !== reading.userId) return undefined
      if (reading.isStale) continue
      if (session) this.#remember(session)
      return session
    }
    throw new Error(`claims changed ${limitAttempts} times while a session was read`)
  }

  #remember({ sessionId, userId, claims }: IdentitySession): void {
    this.#forget(sessionId)
    if (this.#known.size >= this.#limit) this.#forget(this.#known.keys().next().value as string)
    this.#known.set(sessionId, {
      userId,
      claims,
      principalIds: principalsOf(userId, claims),
      joined: undefined,
      isUsed: true,
    })
    const ofUser = this.#knownOfUser.get(userId)
    if (ofUser) ofUser.add(sessionId)
    else this.#knownOfUser.set(userId, new Set([sessionId]))
  }

  /** Takes in what the feed says. */
  apply(event: AccessEvent): void {
    if (event.kind === 'session-ended') {
      this.#end(event.sessionId, event.at)
    } else if (event.kind === 'user-epoch') {
      const known = this.#epochs.get(event.userId)
      if (!known || known.signInEpoch < event.signInEpoch)
        this.#epochs.set(event.userId, { signInEpoch: event.signInEpoch, at: event.at })
      this.#forgetUser(event.userId)
    } else if (event.kind === 'claims-changed') {
      this.#forgetUser(event.userId)
    }
  }

  /** Takes in all that has ended, and keeps no claims: what changed them may have been missed. */
  learn({ endedSessions, epochs }: DenySet): void {
    for (const { sessionId, at } of endedSessions) this.#endedAt.set(sessionId, at)
    for (const epoch of epochs) this.apply({ kind: 'user-epoch', ...epoch })
    for (const reading of this.#reading.values()) reading.isStale = true
    this.#known.clear()
    this.#knownOfUser.clear()
  }

  /**
   * A session that was found to have ended never comes back, so nobody need be asked about it again.
   *
   * @param at when it was found
   */
  noteEnded(sessionId: string, at: number): void {
    this.#end(sessionId, at)
  }

  #end(sessionId: string, at: number): void {
    this.#endedAt.set(sessionId, at)
    const reading = this.#reading.get(sessionId)
    if (reading) reading.isStale = true
    this.#forget(sessionId)
  }

  #forgetUser(userId: string): void {
    for (const reading of this.#reading.values())
      if (reading.userId === userId) reading.isStale = true
    for (const sessionId of this.#knownOfUser.get(userId) ?? []) this.#forget(sessionId)
  }

  #forget(sessionId: string): void {
    const known = this.#known.get(sessionId)
    if (!known) return
    this.#known.delete(sessionId)
    const ofUser = this.#knownOfUser.get(known.userId)!
    ofUser.delete(sessionId)
    if (ofUser.size === 0) this.#knownOfUser.delete(known.userId)
  }

  /** IDs of the sessions that requests came with since this was last asked. */
  takeUsed(): string[] {
    const used: string[] = []
    for (const [sessionId, known] of this.#known) {
      if (known.isUsed) used.push(sessionId)
      known.isUsed = false
    }
    return used
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
