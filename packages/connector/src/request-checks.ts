import { ResetCode } from '@sallyport/protocol'
import { toError } from './errors.ts'
import { OriginFailure, protocolError } from './failure.ts'
import type { Instruction } from './instruction.ts'
import type { OriginRequest, OriginRequests } from './origin-request.ts'
import type { Assertion, Assertions } from './sign-on/assertion.ts'

/**
 * Reads the head of a request. The gateway faces the internet and may fall: what it sends is parsed as strictly as the
 * gateway parses clients.
 *
 * @param hasEnded nothing follows the head
 * @throws OriginFailure `PROTOCOL_ERROR`
 */
export function readRequest(
  requests: OriginRequests,
  text: string,
  mayUpgrade: boolean,
  hasEnded: boolean,
): OriginRequest {
  let request: OriginRequest
  try {
    request = requests.read(text, mayUpgrade)
  } catch (error) {
    throw protocolError(`the request head is invalid: ${toError(error).message}`, error)
  }
  const { method, target, framing } = request
  if (request.versionMinor !== 1) throw protocolError('the request is not HTTP/1.1')
  // Absolute form would let an origin that is also a proxy reach what the allow-list forbids.
  if (method === 'CONNECT' || (target[0] !== '/' && !(target === '*' && method === 'OPTIONS')))
    throw protocolError('the request target is not in origin form')
  if (hasEnded && framing.kind === 'length' && framing.length > 0)
    throw protocolError('the request ended before its body')
  if (request.upgrade !== undefined && framing.kind !== 'none')
    throw protocolError('an upgrade has a body')
  return request
}

/**
 * Reads whom a request is to be signed on as. The gateway may have joined what identity said with another request.
 *
 * @throws OriginFailure `SIGN_ON_FAILED` when it proves nothing, or nothing for this request
 */
export function readAssertion(
  assertions: Assertions,
  text: string,
  { applicationId, origin }: Instruction,
): Assertion {
  const assertion = assertions.read(text)
  if (assertion.applicationId !== applicationId || assertion.origin !== origin.destination.url)
    throw new OriginFailure(
      ResetCode.SIGN_ON_FAILED,
      `ASSERTION_REFUSED: the sign-on assertion is for ${assertion.origin} of ${assertion.applicationId}, the request for ${origin.destination.url} of ${applicationId}`,
    )
  if (assertion.claims.validate !== false && !origin.validate)
    throw new OriginFailure(
      ResetCode.SIGN_ON_FAILED,
      'ASSERTION_REFUSED: the sign-on assertion is for an origin whose certificate is valid, the request for one that may have any',
    )
  return assertion
}
