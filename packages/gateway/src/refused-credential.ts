import { ResetCode, type TunnelError } from '@sallyport/protocol'
import { RequestError } from './failures.ts'
import type { Gateway } from './gateway.ts'

/** Whether the application has turned down what the connector has of the person. */
export function isCredentialRefused({ resetCode, detail }: TunnelError): boolean {
  return (
    resetCode === ResetCode.SIGN_ON_FAILED && detail?.startsWith('CREDENTIAL_REFUSED:') === true
  )
}

/**
 * It must not be sent again, by any connector: that is noted before anybody hears of it.
 *
 * @throws RequestError `CREDENTIAL_REFUSED`
 */
export async function refuseCredential(
  { options, connectorAssertions }: Gateway,
  credential: { id: string; version: number },
  detail: string,
): Promise<never> {
  await options.identity.credentialRefused(credential)
  connectorAssertions.forget()
  throw new RequestError('CREDENTIAL_REFUSED', detail)
}
