import { type CompiledApplication, toInternalPath } from '@sallyport/domain'
import type { BodyFraming } from '@sallyport/http1'
import type { ClientFields } from './client-fields.ts'
import type { Exchange } from './exchange.ts'
import { toExternalHost } from './host.ts'
import type { SignOnFacts } from './request-sign-on.ts'
import { toOriginLines } from './to-origin.ts'
import type { Destination } from './view.ts'

/**
 * Writes the head of a request as the origin shall see it: to the path that was matched, with the field lines that the client
 * had the last time if they would be the same.
 *
 * @returns without the empty line at its end
 */
export function writeOriginHead(
  { gateway, server, client, host, target, upgraded }: Exchange,
  compiled: CompiledApplication,
  fields: ClientFields,
  destination: Destination,
  { lines: signOnLines, assertionLine, forConnector }: SignOnFacts,
): string {
  const { request, framing, expectsContinue } = server
  const { hostHeader, forwardedFor } = compiled.application
  const key = { destination, upgrade: upgraded, signOnLines, assertionLine }
  const lines = fields.originLines(key, () =>
    toOriginLines(
      {
        fields: request.fields,
        host:
          hostHeader === 'external' ? toExternalHost(host, gateway.options.port) : destination.host,
        forwarded: fields.forwarded,
        peerAddress: client.peerAddress,
        forwardedFor,
        framingLine: framingLineOf(framing),
        upgrade: key.upgrade,
        expectContinue: expectsContinue,
        dropsAuthorization: forConnector !== null,
        signOnLines,
        assertionLine,
      },
      gateway.view().fieldFilter(compiled),
    ),
  )
  const { path, query } = target!
  return `${request.method} ${toInternalPath(compiled, path)}${query} HTTP/1.1${lines}`
}

function framingLineOf(framing: BodyFraming): string {
  if (framing.kind === 'length') return `\r\nContent-Length: ${framing.length}`
  return framing.kind === 'chunked' ? '\r\nTransfer-Encoding: chunked' : ''
}
