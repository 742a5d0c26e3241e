import { randomBytes } from 'node:crypto'
import type { Session } from '@sallyport/domain'
import { limitForgotten, sendForgotten } from './forgetting.ts'
import type { ConnectedTunnel, TunnelPool } from './tunnels.ts'

/**
 * A connection to an origin that belongs to one connection of a client: the origin may have authenticated it (NTLM,
 * Negotiate), so that whoever uses it is that person.
 */
export interface Pin {
  /** By which the connector knows it. Nobody can guess it, and it is never used again. */
  readonly id: string
  /** In whose session the client uses it; undefined for applications without sign-in. */
  readonly session: Session | undefined
  /** The connector that holds it; undefined until one has been chosen. */
  connectorId: string | undefined
}

/** Of one client connection, which asks one host: few applications share that. */
const limitPins = 16

/** The pinned connections of one client connection. */
export class ClientPins {
  readonly #all: PinnedConnections
  readonly #byKey = new Map<string, Pin>()

  constructor(all: PinnedConnections) {
    this.#all = all
  }

  /**
   * @param key application and origin
   * @param session a connection that one session has used is none for the next
   */
  find(key: string, session: Session | undefined): Pin {
    const whole = `${session?.sessionId ?? ''} ${key}`
    const known = this.#byKey.get(whole)
    if (known && this.#all.has(known)) return known
    return this.#make(whole, session)
  }

  /** Another one in place of that which is lost. */
  replace(key: string, lost: Pin): Pin {
    this.#all.release(lost)
    return this.#make(`${lost.session?.sessionId ?? ''} ${key}`, lost.session)
  }

  #make(whole: string, session: Session | undefined): Pin {
    if (this.#byKey.size >= limitPins) {
      const [oldest, pin] = this.#byKey.entries().next().value!
      this.#byKey.delete(oldest)
      this.#all.release(pin)
    }
    const pin = this.#all.make(session)
    this.#byKey.set(whole, pin)
    return pin
  }

  /** The client connection is closed. */
  close(): void {
    for (const pin of this.#byKey.values()) this.#all.release(pin)
    this.#byKey.clear()
  }
}

/** All of them. What is released is closed by its connector. */
export class PinnedConnections {
  readonly #pins = new Set<Pin>()
  readonly #tunnels: TunnelPool
  readonly #released = new Map<string, string[]>()
  #telling: NodeJS.Immediate | undefined

  constructor(tunnels: TunnelPool) {
    this.#tunnels = tunnels
  }

  has(pin: Pin): boolean {
    return this.#pins.has(pin)
  }

  make(session: Session | undefined): Pin {
    const pin: Pin = { id: randomBytes(18).toString('base64url'), session, connectorId: undefined }
    this.#pins.add(pin)
    return pin
  }

  release(pin: Pin): void {
    if (!this.#pins.delete(pin) || pin.connectorId === undefined) return
    const ids = this.#released.get(pin.connectorId)
    if (ids) ids.push(pin.id)
    else this.#released.set(pin.connectorId, [pin.id])
    this.#telling ??= setImmediate(() => this.#tell())
  }

  /** Releases those of sessions that are no more. */
  releaseEnded(hasEnded: (session: Session) => boolean): void {
    for (const pin of this.#pins) if (pin.session && hasEnded(pin.session)) this.release(pin)
  }

  /** A connector that cannot be told closes them when nothing comes over them for a while. */
  #tell(): void {
    this.#telling = undefined
    const tunnelOf = new Map<string, ConnectedTunnel>()
    for (const tunnel of this.#tunnels.all())
      if (!tunnel.session.draining) tunnelOf.set(tunnel.connectorId, tunnel)
    for (const [connectorId, ids] of this.#released) {
      const tunnel = tunnelOf.get(connectorId)
      if (!tunnel) continue
      for (let start = 0; start < ids.length; start += limitForgotten)
        sendForgotten(tunnel.session, { connections: ids.slice(start, start + limitForgotten) })
    }
    this.#released.clear()
  }

  close(): void {
    clearImmediate(this.#telling)
  }
}
