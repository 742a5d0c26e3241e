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
  /** IDs are never used again, and few connectors are ever revoked. */
  readonly #revoked = new Set<string>()

  /** One of a connector that was revoked while its certificate was still being checked is closed. */
  add(tunnel: ConnectedTunnel): void {
    if (this.#revoked.has(tunnel.connectorId)) {
      tunnel.session.close(revoked())
      return
    }
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

  /** Closes every tunnel of a connector, and any that it still opens. */
  revoke(connectorId: string): void {
    this.#revoked.add(connectorId)
    for (const tunnel of this.all())
      if (tunnel.connectorId === connectorId) tunnel.session.close(revoked())
  }

  all(): ConnectedTunnel[] {
    return [...this.#groups.values()].flatMap((group) => [...group])
  }
}

function revoked(): Error {
  return new Error('connector was revoked')
}
