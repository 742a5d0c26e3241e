import type { Claims, CompiledApplication, Match, Session } from '@sallyport/domain'
import type { Destination } from './view.ts'

/** What identity says of a person to a connector, signed; the gateway carries it and cannot make it. */
export interface SignOnAssertion {
  /** Visible ASCII. */
  token: string
  /** Epoch milliseconds. */
  expiresAt: number
  /** The only connectors that can use it, the one to prefer first; undefined: any of the group. */
  connectorIds?: readonly string[] | undefined
  /** The credential that it carries, for saying that the application turned it down. */
  credential?: { id: string; version: number } | undefined
}

/** Where assertions come from; identity implements it. */
export interface SignOnSource {
  signOnAssertion(request: {
    sessionId: string
    applicationId: string
    /** What fills the wildcard of the internal URL. */
    label: string | undefined
  }): Promise<SignOnAssertion>
  /** An application has turned a credential down; it is in no assertion any more. */
  credentialRefused(credential: { id: string; version: number }): Promise<void>
}

interface Kept extends SignOnAssertion {
  renewAt: number
}

interface OfPerson {
  kept: Map<Destination, Kept>
  reading: Map<Destination, Promise<SignOnAssertion>>
}

/** A person uses so many applications, and hosts below a wildcard, at a time. */
const limitDestinations = 200

/** Whether the connector tells the origin who the person is. */
export function signsOnAtConnector({ application }: CompiledApplication): boolean {
  return application.signOn.method === 'kerberos' || application.signOn.method === 'password'
}

/**
 * Assertions in use. They are kept with the claims of their session, which are let go by every event that changes
 * what may be said of the person, and used for half of their life before they are made anew.
 */
export class SignOnAssertions {
  readonly #source: SignOnSource
  readonly #clock: () => number
  #ofPerson = new WeakMap<Claims, OfPerson>()

  constructor(source: SignOnSource, clock: () => number) {
    this.#source = source
    this.#clock = clock
  }

  /** @returns undefined when it is not at hand: then `read` */
  find(session: Session, match: Match, destination: Destination): SignOnAssertion | undefined {
    const kept = this.#ofPerson.get(session.claims)?.kept.get(destination)
    const nowAt = this.#clock()
    if (!kept || nowAt >= kept.expiresAt) return undefined
    // The next one is made while this one still holds; whether that fails is seen when it no longer does.
    if (nowAt >= kept.renewAt) this.read(session, match, destination).catch(() => undefined)
    return kept
  }

  /** Asks identity; many requests that miss at once make one question. @throws what the source rejects with */
  async read(session: Session, match: Match, destination: Destination): Promise<SignOnAssertion> {
    const ofPerson = this.#of(session.claims)
    let reading = ofPerson.reading.get(destination)
    if (!reading) {
      reading = this.#ask(session, match, destination, ofPerson).finally(() =>
        ofPerson.reading.delete(destination),
      )
      ofPerson.reading.set(destination, reading)
    }
    return reading
  }

  async #ask(
    { sessionId }: Session,
    { compiled, label }: Match,
    destination: Destination,
    { kept }: OfPerson,
  ): Promise<SignOnAssertion> {
    const assertion = await this.#source.signOnAssertion({
      sessionId,
      applicationId: compiled.application.id,
      label,
    })
    const nowAt = this.#clock()
    if (kept.size >= limitDestinations) kept.clear()
    kept.set(destination, { ...assertion, renewAt: nowAt + (assertion.expiresAt - nowAt) / 2 })
    return assertion
  }

  #of(claims: Claims): OfPerson {
    let ofPerson = this.#ofPerson.get(claims)
    if (!ofPerson) {
      ofPerson = { kept: new Map(), reading: new Map() }
      this.#ofPerson.set(claims, ofPerson)
    }
    return ofPerson
  }

  /** Lets all of them go: they name the connectors that were there. What is being asked for now is not kept either. */
  forget(): void {
    this.#ofPerson = new WeakMap()
  }
}
