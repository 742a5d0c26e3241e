import type { TunnelSession } from '@sallyport/protocol'

/** A tunnel of an authenticated connector. */
export interface ConnectedTunnel {
  session: TunnelSession
  connectorId: string
  connectorName: string
  /** Name of the group whose applications it serves; from the certificate's record, not from the peer. */
  connectorGroup: string
}

/** So many more streams may be open on a tunnel than on another one of its connector. */
const joinedStreams = 100

/** All live tunnels, by connector group. */
export class TunnelPool {
  readonly #groups = new Map<string, Set<ConnectedTunnel>>()
  /** IDs are never used again, and few connectors are ever revoked. */
  readonly #revoked = new Set<string>()
  /** Group of each connector that was moved since this process began. */
  readonly #moved = new Map<string, string>()

  /**
   * One of a connector that was revoked while its certificate was still being checked is closed; one that was moved
   * meanwhile goes where it belongs now.
   */
  add(tunnel: ConnectedTunnel): void {
    if (this.#revoked.has(tunnel.connectorId)) {
      tunnel.session.close(revoked())
      return
    }
    tunnel.connectorGroup = this.#moved.get(tunnel.connectorId) ?? tunnel.connectorGroup
    this.#insert(tunnel)
  }

  #insert(tunnel: ConnectedTunnel): void {
    let group = this.#groups.get(tunnel.connectorGroup)
    if (!group) {
      group = new Set()
      this.#groups.set(tunnel.connectorGroup, group)
    }
    group.add(tunnel)
  }

  delete(tunnel: ConnectedTunnel): void {
    const group = this.#groups.get(tunnel.connectorGroup)
    group?.delete(tunnel)
    if (group?.size === 0) this.#groups.delete(tunnel.connectorGroup)
  }

  /**
   * The connector with the least streams on one of its tunnels; of those the first, as long as it serves well. Batches on two
   * connections cost two writes here and two reads there, and more than a request does, while nothing is gained as long as
   * everything is small.
   *
   * @param refused tunnels that have refused this request already
   * @param connectorIds only these, in this order
   */
  pick(
    connectorGroup: string,
    refused?: ReadonlySet<ConnectedTunnel>,
    connectorIds?: readonly string[],
  ): ConnectedTunnel | undefined {
    if (!connectorIds) return this.#pickOf(connectorGroup, refused, undefined)
    for (const connectorId of connectorIds) {
      const found = this.#pickOf(connectorGroup, refused, connectorId)
      if (found) return found
    }
    return undefined
  }

  #pickOf(
    connectorGroup: string,
    refused: ReadonlySet<ConnectedTunnel> | undefined,
    connectorId: string | undefined,
  ): ConnectedTunnel | undefined {
    let best: ConnectedTunnel | undefined
    for (const tunnel of this.#groups.get(connectorGroup) ?? []) {
      if (tunnel.session.draining || refused?.has(tunnel)) continue
      if (connectorId !== undefined && tunnel.connectorId !== connectorId) continue
      if (!best || tunnel.session.openStreamCount < best.session.openStreamCount) best = tunnel
    }
    return best && this.#findFirst(connectorGroup, refused, best)
  }

  /** The first tunnel of the same connector that takes as small requests as well as the one that has least to do. */
  #findFirst(
    connectorGroup: string,
    refused: ReadonlySet<ConnectedTunnel> | undefined,
    best: ConnectedTunnel,
  ): ConnectedTunnel {
    const most = best.session.openStreamCount + joinedStreams
    for (const tunnel of this.#groups.get(connectorGroup)!) {
      if (tunnel === best) break
      const { session, connectorId } = tunnel
      if (connectorId !== best.connectorId || session.draining || refused?.has(tunnel)) continue
      const { openStreamCount } = session
      if (openStreamCount > most || session.carriesBulk) continue
      // Whoever waits there may wait because nothing comes through.
      if (openStreamCount > best.session.openStreamCount && session.isSilent) continue
      return tunnel
    }
    return best
  }

  /** Closes every tunnel of a connector, and any that it still opens. */
  revoke(connectorId: string): void {
    this.#revoked.add(connectorId)
    for (const tunnel of this.all())
      if (tunnel.connectorId === connectorId) tunnel.session.close(revoked())
  }

  /** From now on its tunnels get requests of the other group's applications; those under way go on. */
  move(connectorId: string, connectorGroup: string): void {
    this.#moved.set(connectorId, connectorGroup)
    for (const tunnel of this.all()) {
      if (tunnel.connectorId !== connectorId) continue
      this.delete(tunnel)
      tunnel.connectorGroup = connectorGroup
      this.#insert(tunnel)
    }
  }

  all(): ConnectedTunnel[] {
    return [...this.#groups.values()].flatMap((group) => [...group])
  }
}

function revoked(): Error {
  return new Error('connector was revoked')
}
