import { type StreamHandler, TunnelError, type TunnelStream } from '@sallyport/protocol'
import { RequestError } from './failures.ts'
import type { ConnectedTunnel, TunnelPool } from './tunnels.ts'

/** A request that is to reach an application. */
export interface Opening extends StreamHandler {
  /** Connectors that did not take it; undefined: none so far. */
  refused: Set<ConnectedTunnel> | undefined
}

export interface OpenedStream {
  tunnel: ConnectedTunnel
  stream: TunnelStream
}

/**
 * Opens a stream to a connector of the group that has not refused.
 *
 * @param openText of the OPEN frame
 * @param connectorIds the only ones that can serve it, the one to prefer first; undefined: any
 * @returns undefined when none is left
 */
export function openStream(
  opening: Opening,
  tunnels: TunnelPool,
  connectorGroup: string,
  openText: string,
  connectorIds?: readonly string[],
): OpenedStream | undefined {
  for (;;) {
    const tunnel = tunnels.pick(connectorGroup, opening.refused, connectorIds)
    if (!tunnel) return undefined
    try {
      return { tunnel, stream: tunnel.session.openStream(openText, opening) }
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error
      // Full, or closed since it was picked: nothing was sent.
      noteRefused(opening, tunnel)
    }
  }
}

export function noteRefused(opening: Opening, tunnel: ConnectedTunnel): void {
  opening.refused ??= new Set()
  opening.refused.add(tunnel)
}

/** What ends a request that no connector takes. */
export function noConnector({ refused }: Opening, connectorGroup: string): RequestError {
  return new RequestError(
    refused ? 'CONNECTOR_OVERLOADED' : 'NO_CONNECTOR',
    `no connector of group ${connectorGroup} takes the request`,
  )
}
