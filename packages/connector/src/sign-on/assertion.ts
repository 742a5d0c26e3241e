import { verify, X509Certificate } from 'node:crypto'
import { ResetCode } from '@sallyport/protocol'
import { splitPem } from '../certificate.ts'
import { OriginFailure } from '../failure.ts'

/** What identity says of a person, its signature checked. */
export interface Assertion {
  /** User ID. */
  readonly subject: string
  readonly sessionId: string
  readonly applicationId: string
  /** `http://host:port` that the person is signed on to, and no other. */
  readonly origin: string
  readonly method: string
  /** Epoch milliseconds. */
  readonly expiresAt: number
  /**
   * Whose connections to the origin its requests may use: a server may tie whoever authenticates to the connection. Not
   * only the person: whom the application took the person for, too.
   */
  readonly person: string
  /** All claims, for the method's own. */
  readonly claims: Readonly<Record<string, unknown>>
}

/** What identity says to the administrator of a connector who tries a sign-on; no request is signed on by it. */
export interface SignOnCheckFacts {
  /** Name of the application. */
  readonly application: string
  /** User name, as people type it to sign in. */
  readonly user: string
  /** `http://host:port`. */
  readonly origin: string
  /** Path of the internal URL. */
  readonly path: string
  /** Whether the certificate of the origin has to be good. */
  readonly validate: boolean
  /** All claims, for the method's own. */
  readonly claims: Readonly<Record<string, unknown>>
}

export interface AssertionsOptions {
  /** The pinned CA bundle, PEM; asked each time, since a renewal may replace it. */
  caPem(): string
  /** Host of the service: `connect.<base domain>`. */
  serviceHost: string
  connectorId: string
  /** Epoch milliseconds. */
  clock(): number
}

// RFC 9336: neither a server nor a connector has such a certificate.
const documentSigning = '1.3.6.1.5.5.7.3.36'
const maxLifetimeMs = 10 * 60_000
/** How far the clocks of service and connector may be apart. */
const skewMs = 60_000
const maxKept = 10_000
const maxTokenBytes = 16_384
const maxCertificates = 16

/**
 * Reads sign-on assertions: compact JWS (RFC 7515) by ES256, with the signer's certificate in `x5c`. The gateway that brings them faces the
 * internet and may fall; it cannot make one, since the authority that this connector pinned has certified the key of identity only.
 */
export class Assertions {
  readonly #options: AssertionsOptions
  readonly #signerName: string
  /** By the token's text, oldest first. */
  readonly #known = new Map<string, Assertion>()
  /** Certificates that were found good, by `x5c`. */
  readonly #signers = new Map<string, X509Certificate>()
  #caPem = ''
  #authorities: X509Certificate[] = []

  constructor(options: AssertionsOptions) {
    this.#options = options
    this.#signerName = `URI:spiffe://${options.serviceHost.replace(/^connect\./, '')}/identity/sign-on`
  }

  /** @throws OriginFailure `SIGN_ON_FAILED` when it proves nothing, or nothing any more */
  read(token: string): Assertion {
    this.#useAuthorities()
    const known = this.#known.get(token)
    const assertion = known ?? this.#readClaims(this.#verify(token, 'sallyport-sign-on+jwt'))
    if (this.#options.clock() >= assertion.expiresAt + skewMs)
      throw refused(`it expired at ${new Date(assertion.expiresAt).toISOString()}`)
    if (!known) {
      if (this.#known.size >= maxKept) this.#known.delete(this.#known.keys().next().value as string)
      this.#known.set(token, assertion)
    }
    return assertion
  }

  /**
   * @param asked the answer to another question is not believed
   * @throws OriginFailure `SIGN_ON_FAILED` when it proves nothing, or nothing any more
   */
  readCheck(token: string, asked: { application: string; user: string }): SignOnCheckFacts {
    this.#useAuthorities()
    const claims = this.#verify(token, 'sallyport-sign-on-check+jwt')
    const { expiresAt } = this.#readTimes(claims)
    if (this.#options.clock() >= expiresAt + skewMs) throw refused('it has expired')
    const { application, user, origin, path, validate } = claims
    if (application !== asked.application || user !== asked.user)
      throw refused(
        `it is about ${JSON.stringify([application, user])}, asked was for ${JSON.stringify([asked.application, asked.user])}`,
      )
    if (typeof origin !== 'string' || typeof path !== 'string' || typeof validate !== 'boolean')
      throw refused('it does not say what it must')
    return { ...asked, origin, path, validate, claims }
  }

  #verify(token: string, type: string): Record<string, unknown> {
    const parts = token.split('.')
    if (token.length > maxTokenBytes || parts.length !== 3) throw refused('it is no JWS')
    const [header, payload, signature] = parts as [string, string, string]
    const { alg, typ, x5c, crit } = decode(header)
    if (alg !== 'ES256' || typ !== type || crit !== undefined)
      throw refused('its header is not that of a sign-on assertion')
    if (!Array.isArray(x5c) || x5c.length !== 1 || typeof x5c[0] !== 'string')
      throw refused('it has no certificate')
    const { publicKey } = this.#readSigner(x5c[0])
    // RFC 7518 section 3.4: R and S side by side.
    const isSigned = verify(
      'sha256',
      Buffer.from(`${header}.${payload}`),
      { key: publicKey, dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    )
    if (!isSigned) throw refused('its signature is wrong')
    return decode(payload)
  }

  #readSigner(x5c: string): X509Certificate {
    const nowAt = this.#options.clock()
    let certificate = this.#signers.get(x5c)
    if (!certificate) {
      certificate = parseCertificate(x5c)
      const isOurs = this.#authorities.some(
        (ca) => certificate!.checkIssued(ca) && certificate!.verify(ca.publicKey),
      )
      if (!isOurs || certificate.ca) throw refused('its certificate is not of the pinned CA')
      const isIdentity =
        certificate.subjectAltName === this.#signerName &&
        certificate.keyUsage?.length === 1 &&
        certificate.keyUsage[0] === documentSigning &&
        certificate.publicKey.asymmetricKeyDetails?.namedCurve === 'prime256v1'
      if (!isIdentity) throw refused('its certificate is not that of identity')
      if (this.#signers.size >= maxCertificates) this.#signers.clear()
      this.#signers.set(x5c, certificate)
    }
    if (nowAt < certificate.validFromDate.getTime() || nowAt >= certificate.validToDate.getTime())
      throw refused('its certificate is not valid now')
    return certificate
  }

  /** What an authority that is pinned no more has vouched for counts no more. */
  #useAuthorities(): void {
    const caPem = this.#options.caPem()
    if (caPem === this.#caPem) return
    this.#caPem = caPem
    this.#authorities = splitPem(caPem).map((pem) => new X509Certificate(pem))
    this.#signers.clear()
    this.#known.clear()
  }

  #readClaims(claims: Record<string, unknown>): Assertion {
    const { sub, sid, app, origin, method } = claims
    const texts = [sub, sid, app, origin, method]
    if (!texts.every((text) => typeof text === 'string' && text !== ''))
      throw refused('it does not say what it must')
    const { expiresAt } = this.#readTimes(claims)
    return {
      subject: sub as string,
      sessionId: sid as string,
      applicationId: app as string,
      origin: origin as string,
      method: method as string,
      expiresAt,
      person: JSON.stringify([app, sub, claims.login ?? null]),
      claims,
    }
  }

  /** For whom it is, and that it is not good for longer than it may be. */
  #readTimes({ aud, iat, exp }: Record<string, unknown>): { expiresAt: number } {
    if (!isTime(iat) || !isTime(exp)) throw refused('it does not say what it must')
    if (!Array.isArray(aud) || !aud.includes(this.#options.connectorId))
      throw refused('it is not for this connector')
    const lifetimeMs = (exp - iat) * 1000
    if (lifetimeMs <= 0 || lifetimeMs > maxLifetimeMs) throw refused('its lifetime is too long')
    const nowAt = this.#options.clock()
    if (iat * 1000 > nowAt + skewMs)
      throw refused(
        `it is from the future: it was made at ${new Date(iat * 1000).toISOString()}, and it is ${new Date(nowAt).toISOString()} here`,
      )
    return { expiresAt: exp * 1000 }
  }
}

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

function decode(part: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
  } catch (cause) {
    throw refused('it is no JWS', cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw refused('it is no JWS')
  return value as Record<string, unknown>
}

function parseCertificate(x5c: string): X509Certificate {
  try {
    return new X509Certificate(Buffer.from(x5c, 'base64'))
  } catch (cause) {
    throw refused('its certificate cannot be read', cause)
  }
}

function refused(why: string, cause?: unknown): OriginFailure {
  return new OriginFailure(
    ResetCode.SIGN_ON_FAILED,
    `ASSERTION_REFUSED: the sign-on assertion is not believed: ${why}`,
    cause === undefined ? undefined : { cause },
  )
}
