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
  /** By name of the group, then by ID of the connector. */
  readonly #groups = new Map<string, Map<string, Set<ConnectedTunnel>>>()
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
    const { connectorGroup, connectorId } = tunnel
    let group = this.#groups.get(connectorGroup)
    if (!group) {
      group = new Map()
      this.#groups.set(connectorGroup, group)
    }
    const tunnels = group.get(connectorId)
    if (tunnels) tunnels.add(tunnel)
    else group.set(connectorId, new Set([tunnel]))
  }

  delete(tunnel: ConnectedTunnel): void {
    const { connectorGroup, connectorId } = tunnel
    const group = this.#groups.get(connectorGroup)
    const tunnels = group?.get(connectorId)
    tunnels?.delete(tunnel)
    if (tunnels?.size === 0) group!.delete(connectorId)
    if (group?.size === 0) this.#groups.delete(connectorGroup)
  }

  /**
   * The connector with the least streams open, and of its tunnels the first, as long as that serves well. Batches on two
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
    const group = this.#groups.get(connectorGroup)
    if (!group) return undefined
    if (!connectorIds) return pickOf(findLeastLoaded(group, refused), refused)
    for (const connectorId of connectorIds) {
      const found = pickOf(group.get(connectorId), refused)
      if (found) return found
    }
    return undefined
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
    return [...this.#groups.values()].flatMap((group) =>
      [...group.values()].flatMap((tunnels) => [...tunnels]),
    )
  }
}

function revoked(): Error {
  return new Error('connector was revoked')
}

function isUsable(tunnel: ConnectedTunnel, refused: ReadonlySet<ConnectedTunnel> | undefined) {
  return !tunnel.session.draining && !refused?.has(tunnel)
}

/** @returns the tunnels of the connector with the least streams on those that can be used */
function findLeastLoaded(
  group: ReadonlyMap<string, Set<ConnectedTunnel>>,
  refused: ReadonlySet<ConnectedTunnel> | undefined,
): Set<ConnectedTunnel> | undefined {
  let best: Set<ConnectedTunnel> | undefined
  let least = Number.POSITIVE_INFINITY
  for (const tunnels of group.values()) {
    let streams = 0
    let usable = false
    for (const tunnel of tunnels)
      if (isUsable(tunnel, refused)) {
        usable = true
        streams += tunnel.session.openStreamCount
      }
    if (!usable || streams >= least) continue
    best = tunnels
    least = streams
  }
  return best
}

/** @param tunnels of one connector */
function pickOf(
  tunnels: Set<ConnectedTunnel> | undefined,
  refused: ReadonlySet<ConnectedTunnel> | undefined,
): ConnectedTunnel | undefined {
  let best: ConnectedTunnel | undefined
  for (const tunnel of tunnels ?? [])
    if (isUsable(tunnel, refused) && (!best || isBetter(tunnel.session, best.session)))
      best = tunnel
  return best
}

/** Whether a request goes to a tunnel, although there is another one in front of it. */
function isBetter(later: TunnelSession, earlier: TunnelSession): boolean {
  if (later.carriesBulk !== earlier.carriesBulk) return earlier.carriesBulk
  const more = earlier.openStreamCount - later.openStreamCount
  // Whoever waits there may wait because nothing comes through.
  if (later.carriesBulk || earlier.isSilent) return more > 0
  return more > joinedStreams
}
