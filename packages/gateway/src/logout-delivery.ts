import { createHash } from 'node:crypto'
import { WholeBody } from './client-body.ts'
import type { Exchange } from './exchange.ts'

/** A signed message in a form, with RelayState. */
const limitBytes = 131_072

/**
 * Receives a message of sign-out that identity has sent on its way; the target shows its pass no more.
 *
 * @param decide told whether the body, if there is one, is what was signed; not called when it does not come to its end
 * @returns false when it is no such message: whatever else shows a pass is a request as any other
 */
export function receiveLogout(
  exchange: Exchange,
  pass: string,
  decide: (isOurs: boolean, body: Buffer | undefined) => void,
): boolean {
  const { server } = exchange
  const bodyDigest = takePass(exchange, pass)
  if (bodyDigest === undefined) return false
  if (server.request.method === 'GET') decide(true, undefined)
  else
    server.receive(
      new WholeBody(exchange, (body) =>
        decide(createHash('sha256').update(body).digest('base64url') === bodyDigest, body),
      ),
    )
  return true
}

/** @returns SHA-256 of the body that has to go with it, base64url; undefined when it is no such message */
function takePass(exchange: Exchange, pass: string): string | undefined {
  const { gateway, compiled, externalOrigin, target, server } = exchange
  const { request, framing, upgradeRequested, expectsContinue } = server
  const { method } = request
  if ((method !== 'GET' && method !== 'POST') || upgradeRequested || expectsContinue)
    return undefined
  const length = framing.kind === 'length' ? framing.length : framing.kind === 'none' ? 0 : -1
  const fits = method === 'GET' ? length === 0 : length > 0 && length <= limitBytes
  if (!fits) return undefined
  return gateway.options.identity.takeLogoutPass(pass, {
    applicationId: compiled.application.id,
    method,
    url: externalOrigin + target!.path + target!.query,
  })
}
