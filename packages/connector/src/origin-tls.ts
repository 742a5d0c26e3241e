import type { Socket } from 'node:net'
import {
  connect,
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'
import type { ClientCertificate } from './client-certificate.ts'
import type { Destination } from './destination.ts'
import { toError } from './errors.ts'
import { toTlsFailure } from './failure.ts'

/** TLS towards origins: the system's CAs and, if there is one, a private CA of the organisation. */
export class OriginTls {
  readonly #privateCa: string | undefined
  #authorities: string[] | undefined
  readonly #contexts = { validating: new Contexts(), lenient: new Contexts() }

  /** @param privateCa PEM, one or more certificates */
  constructor(privateCa: string | undefined) {
    this.#privateCa = privateCa
  }

  /**
   * @param socket connected; owned by the result from here on
   * @param certificate shown if the origin asks for one; undefined: none
   * @param session of an earlier connection to the same destination with the same `validate` and `certificate`
   * @returns a socket whose certificate was checked, unless `validate` is false
   * @throws OriginFailure `ORIGIN_TLS_INVALID`, `ORIGIN_CLIENT_CERTIFICATE`; the network's errors; the signal's reason
   */
  secure(
    socket: Socket,
    destination: Destination,
    validate: boolean,
    certificate: ClientCertificate | undefined,
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
        secureContext: this.#context(validate, certificate),
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
      const onError = (error: Error) =>
        fail(toTlsFailure(error, certificate?.subject, hasSeenCertificate(secure)))
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

  #context(validate: boolean, certificate: ClientCertificate | undefined): SecureContext {
    return this.#contexts[validate ? 'validating' : 'lenient'].of(certificate, () =>
      createSecureContext({
        ...certificate?.context,
        ...(validate ? { ca: this.#trusted() } : {}),
        minVersion: 'TLSv1.2',
      }),
    )
  }

  #trusted(): string[] {
    if (!this.#authorities) {
      const system = getCACertificates('system')
      // A system without a certificate store still has the roots that come with Node.
      this.#authorities = [...(system.length > 0 ? system : getCACertificates('bundled'))]
      if (this.#privateCa !== undefined) this.#authorities.push(this.#privateCa)
    }
    return this.#authorities
  }
}

/** Making one reads all authorities; those of certificates that were replaced are let go. */
class Contexts {
  #plain: SecureContext | undefined
  readonly #withCertificate = new WeakMap<ClientCertificate, SecureContext>()

  of(certificate: ClientCertificate | undefined, make: () => SecureContext): SecureContext {
    if (!certificate) {
      this.#plain ??= make()
      return this.#plain
    }
    let context = this.#withCertificate.get(certificate)
    if (!context) {
      context = make()
      this.#withCertificate.set(certificate, context)
    }
    return context
  }
}

function hasSeenCertificate(socket: TLSSocket): boolean {
  const certificate = socket.getPeerCertificate() as object | null | undefined
  return certificate !== null && certificate !== undefined && Object.keys(certificate).length > 0
}
