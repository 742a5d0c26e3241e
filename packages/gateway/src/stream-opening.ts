import { type StreamHandler, TunnelError, type TunnelStream } from '@sallyport/protocol'
import type { SignOnAssertion } from './assertions.ts'
import type { Exchange } from './exchange.ts'
import { RequestError } from './failures.ts'
import type { ClientPins, Pin } from './pinned-connections.ts'
import { toOpenText } from './to-origin.ts'
import type { ConnectedTunnel, TunnelPool } from './tunnels.ts'
import type { Destination } from './view.ts'

/** A request that is to reach an application. */
export interface Opening extends StreamHandler {
  /** Connectors that did not take it; undefined: none so far. */
  refused: Set<ConnectedTunnel> | undefined
  /** Of the connector that was asked last: it has it, or has refused it. */
  tunnel: ConnectedTunnel | undefined
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
): TunnelStream | undefined {
  for (;;) {
    const tunnel = tunnels.pick(connectorGroup, opening.refused, connectorIds)
    if (!tunnel) return undefined
    opening.tunnel = tunnel
    try {
      return tunnel.session.openStream(openText, opening)
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error
      // Full, or closed since it was picked: nothing was sent.
      noteRefused(opening)
    }
  }
}

/** The connector that had it has not taken it. */
export function noteRefused(opening: Opening): void {
  opening.refused ??= new Set()
  opening.refused.add(opening.tunnel!)
}

/** What ends a request that no connector takes. */
export function noConnector({ refused }: Opening, connectorGroup: string): RequestError {
  return new RequestError(
    refused ? 'CONNECTOR_OVERLOADED' : 'NO_CONNECTOR',
    `no connector of group ${connectorGroup} takes the request`,
  )
}

/**
 * Opens the stream of a client's request: over the connection to the origin that is this client's own, where the origin may
 * authenticate it.
 *
 * @throws RequestError when no connector is left that has not refused
 */
export function openOriginStream(
  exchange: Exchange,
  destination: Destination,
  assertion: SignOnAssertion | null,
): TunnelStream {
  const { gateway, client } = exchange
  const { connectorGroup, connectionAuthentication } = exchange.compiled.application
  const pins = connectionAuthentication ? client.pins : undefined
  const stream = pins
    ? openPinned(exchange, pins, destination, assertion)
    : openStream(
        exchange,
        gateway.tunnels,
        connectorGroup,
        openTextOf(exchange, destination, assertion),
        assertion?.connectorIds,
      )
  if (!stream) throw noConnector(exchange, connectorGroup)
  return stream
}

function openPinned(
  exchange: Exchange,
  pins: ClientPins,
  destination: Destination,
  assertion: SignOnAssertion | null,
): TunnelStream | undefined {
  const { id, connectorGroup } = exchange.compiled.application
  const open = (of: Pin, connectorIds: readonly string[] | undefined) =>
    openStream(
      exchange,
      exchange.gateway.tunnels,
      connectorGroup,
      openTextOf(exchange, destination, assertion, of),
      connectorIds,
    )
  const key = `${id} ${destination.origin}`
  let pin = pins.find(key, exchange.session)
  let stream = pin.connectorId ? open(pin, [pin.connectorId]) : undefined
  // What the origin knew of the connection is gone with the connector: it will ask again.
  if (!stream && pin.connectorId) pin = pins.replace(key, pin)
  stream ??= open(pin, assertion?.connectorIds)
  if (stream) pin.connectorId = exchange.tunnel!.connectorId
  return stream
}

function openTextOf(
  { id, upgraded }: Exchange,
  { instruction, upgradeInstruction }: Destination,
  assertion: SignOnAssertion | null,
  pin?: Pin,
): string {
  const plain = upgraded ? upgradeInstruction : instruction
  return toOpenText(id, pin ? withConnection(plain, pin.id) : plain, assertion?.token ?? '')
}

/** @param instruction the JSON of an object */
function withConnection(instruction: string, id: string): string {
  return `${instruction.slice(0, -1)},"connection":"${id}"}`
}
