import type { IdentitySession } from '@sallyport/domain'
import type { FieldList } from '@sallyport/http1'
import { copyText } from './field-names.ts'
import { type RingKey, Sealer } from './seal.ts'

/** What the session cookie holds: ids and instants, never claims. Instants are epoch milliseconds. */
export interface SessionFacts {
  sessionId: string
  userId: string
  signInEpoch: number
  methods: readonly string[]
  signedInAt: number
  sealedAt: number
  expiresAt: number
  absoluteExpiresAt: number
}

/** A session cookie lives this long without being sealed again. */
export const sessionLifetimeMs = 3_600_000

/**
 * Whether a cookie is so old that it is sealed again: half its life. On a host with an idle limit a tenth of that, so that the
 * cookie's age says to a tenth how long nobody has asked for anything.
 */
export function isToReseal(
  { sealedAt }: SessionFacts,
  idleLimitMs: number | undefined,
  nowAt: number,
): boolean {
  return (
    nowAt - sealedAt >=
    Math.min(sessionLifetimeMs / 2, (idleLimitMs ?? Number.POSITIVE_INFINITY) / 10)
  )
}

const nothing: FieldList = []

/** The fields that set a session cookie with an origin's answer. No cache may give one person's session to another one. */
export function sessionFields(setCookie: string | undefined): FieldList {
  return setCookie === undefined ? nothing : ['Set-Cookie', setCookie, 'Cache-Control', 'private']
}

/** Seals and opens session cookies; remembers the ones it has opened. */
export class SessionCookies {
  readonly #sealer: Sealer
  readonly #opened = new Map<string, { host: string; facts: SessionFacts }>()
  readonly #limit: number

  constructor(ring: readonly RingKey[], limit = 50_000) {
    this.#sealer = new Sealer(ring, 'session-cookie')
    this.#limit = limit
  }

  /** What was opened with a key that is in the ring no more has to be opened again, and is not. */
  useKeys(ring: readonly RingKey[]): void {
    this.#sealer.useKeys(ring)
    this.#opened.clear()
  }

  /** @returns the cookie's value, bound to the host */
  seal(
    session: IdentitySession,
    host: string,
    nowAt: number,
  ): { value: string; facts: SessionFacts } {
    const facts: SessionFacts = {
      sessionId: session.sessionId,
      userId: session.userId,
      signInEpoch: session.signInEpoch,
      methods: session.methods,
      signedInAt: session.signedInAt,
      sealedAt: nowAt,
      expiresAt: Math.min(nowAt + sessionLifetimeMs, session.absoluteExpiresAt),
      absoluteExpiresAt: session.absoluteExpiresAt,
    }
    const value = this.#sealer.seal(formatFacts(facts), host)
    return { value, facts }
  }

  /** @returns undefined for anything but a cookie of this host that we sealed; expiry is not looked at */
  open(value: string, host: string): SessionFacts | undefined {
    const known = this.#opened.get(value)
    if (known) return known.host === host ? known.facts : undefined
    const text = this.#sealer.open(value, host)
    if (text === undefined) return undefined
    const facts = parseFacts(text)
    // Oldest first: a Map keeps the order of insertion.
    if (this.#opened.size >= this.#limit)
      this.#opened.delete(this.#opened.keys().next().value as string)
    this.#opened.set(copyText(value), { host: copyText(host), facts })
    return facts
  }
}

type FactList = [string, string, number, readonly string[], number, number, number, number]

function formatFacts(facts: SessionFacts): string {
  const list: FactList = [
    facts.sessionId,
    facts.userId,
    facts.signInEpoch,
    facts.methods,
    facts.signedInAt,
    facts.sealedAt,
    facts.expiresAt,
    facts.absoluteExpiresAt,
  ]
  return JSON.stringify(list)
}

/** @param text that this service sealed, so that it has the form that `formatFacts` gave it */
function parseFacts(text: string): SessionFacts {
  const list = JSON.parse(text) as FactList
  return {
    sessionId: list[0],
    userId: list[1],
    signInEpoch: list[2],
    methods: list[3],
    signedInAt: list[4],
    sealedAt: list[5],
    expiresAt: list[6],
    absoluteExpiresAt: list[7],
  }
}
