import type { Socket } from 'node:net'
import {
  connect,
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'
import type { Destination } from './destination.ts'
import { toError } from './errors.ts'
import { toTlsFailure } from './failure.ts'

/** TLS towards origins: the system's CAs and, if there is one, a private CA of the organisation. */
export class OriginTls {
  readonly #privateCa: string | undefined
  #validating: SecureContext | undefined
  #lenient: SecureContext | undefined

  /** @param privateCa PEM, one or more certificates */
  constructor(privateCa: string | undefined) {
    this.#privateCa = privateCa
  }

  /**
   * @param socket connected; owned by the result from here on
   * @param session of an earlier connection to the same destination with the same `validate`
   * @returns a socket whose certificate was checked, unless `validate` is false
   * @throws OriginFailure `ORIGIN_TLS_INVALID`; the network's errors; the signal's reason
   */
  secure(
    socket: Socket,
    destination: Destination,
    validate: boolean,
    session: Buffer | undefined,
    signal: AbortSignal,
  ): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const { name, host } = destination
      const secure = connect({
        socket,
        host,
        // RFC 6066 section 3: SNI holds names only, never addresses.
        servername: name ?? '',
        secureContext: validate ? this.#validatingContext() : this.#lenientContext(),
        rejectUnauthorized: validate,
        ALPNProtocols: ['http/1.1'],
        ...(session ? { session } : {}),
      })
      const finish = () => {
        secure.removeListener('error', onError)
        secure.removeListener('close', onClose)
        signal.removeEventListener('abort', onAbort)
      }
      const fail = (error: Error) => {
        finish()
        secure.destroy()
        reject(error)
      }
      const onError = (error: Error) => fail(toTlsFailure(error))
      const onClose = () =>
        onError(
          Object.assign(new Error('the origin closed the connection during the TLS handshake'), {
            code: 'ECONNRESET',
          }),
        )
      const onAbort = () => fail(toError(signal.reason))
      secure.once('error', onError)
      secure.once('close', onClose)
      signal.addEventListener('abort', onAbort)
      secure.once('secureConnect', () => {
        finish()
        resolve(secure)
      })
      if (signal.aborted) onAbort()
    })
  }

  #validatingContext(): SecureContext {
    if (!this.#validating) {
      const system = getCACertificates('system')
      // A system without a certificate store still has the roots that come with Node.
      const ca = [...(system.length > 0 ? system : getCACertificates('bundled'))]
      if (this.#privateCa !== undefined) ca.push(this.#privateCa)
      this.#validating = createSecureContext({ ca, minVersion: 'TLSv1.2' })
    }
    return this.#validating
  }

  #lenientContext(): SecureContext {
    this.#lenient ??= createSecureContext({ minVersion: 'TLSv1.2' })
    return this.#lenient
  }
}
