import type { TunnelSession } from '@sallyport/protocol'

/** A tunnel of an authenticated connector. */
export interface ConnectedTunnel {
  session: TunnelSession
  connectorId: string
  connectorName: string
  /** Name of the group whose applications it serves; from the certificate's record, not from the peer. */
  connectorGroup: string
}

/** All live tunnels, by connector group. */
export class TunnelPool {
  readonly #groups = new Map<string, Set<ConnectedTunnel>>()

  add(tunnel: ConnectedTunnel): void {
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

  /** Least streams open first. @param refused tunnels that have refused this request already */
  pick(
    connectorGroup: string,
    refused?: ReadonlySet<ConnectedTunnel>,
  ): ConnectedTunnel | undefined {
    let best: ConnectedTunnel | undefined
    for (const tunnel of this.#groups.get(connectorGroup) ?? []) {
      if (tunnel.session.draining || refused?.has(tunnel)) continue
      if (!best || tunnel.session.openStreamCount < best.session.openStreamCount) best = tunnel
    }
    return best
  }

  /** Closes every tunnel of a connector whose certificate was revoked. */
  closeConnector(connectorId: string, error: Error): void {
    for (const tunnel of this.all())
      if (tunnel.connectorId === connectorId) tunnel.session.close(error)
  }

  all(): ConnectedTunnel[] {
    return [...this.#groups.values()].flatMap((group) => [...group])
  }
}
