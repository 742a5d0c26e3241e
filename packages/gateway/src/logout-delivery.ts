import type { Exchange } from './exchange.ts'

/** A signed message in a form, with RelayState. */
const limitBytes = 131_072

/**
 * Takes the pass of a message of sign-out that identity has sent on its way; the target has it no more. Whatever else shows a pass is a
 * request as any other.
 *
 * @returns SHA-256 of the body that has to go with it, base64url; undefined when it is no such message
 */
export function takeLogoutPass(exchange: Exchange, pass: string): string | undefined {
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
