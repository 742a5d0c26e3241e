import { randomUUID } from 'node:crypto'
import { Pkcs10CertificateRequest } from '@peculiar/x509'
import { AuditNotices, connectors, enrolmentTokens, type Store } from '@sallyport/store'
import { z } from 'zod'
import { type CertificateAuthority, ExtendedKeyUsage } from './certificate-authority.ts'
import { type Challenges, proofInput } from './challenges.ts'
import type { Configuration } from './configuration.ts'
import { hashEnrolmentToken, isEnrolmentToken } from './enrolment-token.ts'
import { ControlError } from './errors.ts'
import type { Log } from './log.ts'

const dayMs = 86_400_000
const certificateLifetimeMs = 30 * dayMs
/** How long after its end a certificate may still be renewed. */
const renewalGraceMs = 90 * dayMs

export interface EnrolmentOptions {
  store: Store
  configuration: Configuration
  authority: CertificateAuthority
  challenges: Challenges
  baseDomain: string
  /** Where connectors reach the service, such as `https://connect.example.com`. */
  service: string
  clock: () => number
  log: Log
}

export const enrolInput = z.strictObject({
  token: z.string().max(200),
  csr: z.string().max(16_384),
  name: z.string().regex(/^[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,126}[A-Za-z0-9])?$/, {
    error: 'must be 1-128 letters, digits, spaces, dots, _ and -',
  }),
  instanceId: z.uuid().optional(),
})

export const renewInput = z.strictObject({ ...proofInput.shape, csr: z.string().max(16_384) })

/** Gives connectors their certificates. */
export class Enrolment {
  readonly #options: EnrolmentOptions
  readonly #notices: AuditNotices

  constructor(options: EnrolmentOptions) {
    this.#options = options
    this.#notices = new AuditNotices({ db: options.store.db, clock: options.clock })
  }

  /**
   * Redeems a token. Of any number of simultaneous attempts with one token, one succeeds.
   *
   * @throws ControlError `TOKEN_INVALID`, `TOKEN_USED`, `TOKEN_EXPIRED`, `CSR_INVALID`
   */
  async enrol(input: z.output<typeof enrolInput>, clientAddress: string) {
    const { store, configuration, authority, clock, service } = this.#options
    const token = isEnrolmentToken(input.token)
      ? await enrolmentTokens.findEnrolmentToken(store.db, hashEnrolmentToken(input.token))
      : undefined
    if (!token)
      throw new ControlError(
        'TOKEN_INVALID',
        'the enrolment token is not known; make one with: sallyport token create',
      )
    if (token.usedAt !== undefined) throw await this.#replayed(token, clientAddress)
    if (clock() >= token.expiresAt)
      throw new ControlError(
        'TOKEN_EXPIRED',
        'the enrolment token has expired; make another with: sallyport token create',
      )
    // Only now: a signature check costs milliseconds, which nobody without a token may spend.
    const spki = await readSigningRequest(input.csr)
    const connectorId = randomUUID()
    const issued = await authority.issueFor(spki, this.#leafOf(connectorId), clock())
    const redeemed = await configuration.change(`connector:${connectorId}`, async (change) => {
      if (
        !(await enrolmentTokens.redeemEnrolmentToken(
          change.db,
          token.id,
          connectorId,
          change.nowAt,
        ))
      )
        return false
      await connectors.createConnector(
        change.db,
        {
          id: connectorId,
          name: input.name,
          groupId: token.groupId,
          certificate: issued,
        },
        change.nowAt,
      )
      await change.audit('connector-enrolled', connectorId, {
        name: input.name,
        connectorGroup: token.groupName,
        serial: issued.serial,
        tokenId: token.id,
        clientAddress,
        instanceId: input.instanceId,
      })
      return true
    })
    if (!redeemed) throw await this.#replayed(token, clientAddress)
    return {
      certificate: issued.certificatePem,
      caBundle: authority.certificatePem,
      connectorId,
      connectorGroup: token.groupName,
      service,
    }
  }

  /**
   * Issues a new certificate to whoever holds the key of the old one, which may have expired.
   *
   * @throws ControlError `CHALLENGE_INVALID`, `CERTIFICATE_EXPIRED` after the grace, `CSR_INVALID`, and
   *   those of `readForRenewal` and `checkInForce`
   */
  async renew(input: z.output<typeof renewInput>, clientAddress: string) {
    const { challenges, configuration, authority, clock, service } = this.#options
    const { connector, proof } = await challenges.check(input)
    const { certificate, serial } = proof
    const nowAt = clock()
    if (nowAt >= certificate.validToDate.getTime() + renewalGraceMs)
      throw new ControlError(
        'CERTIFICATE_EXPIRED',
        'the certificate expired more than 90 days ago; enrol the connector again',
      )
    const spki = await readSigningRequest(input.csr)
    const issued = await authority.issueFor(spki, this.#leafOf(connector.id), nowAt)
    await configuration.change(`connector:${connector.id}`, async (change) => {
      if (!(await connectors.setNextCertificate(change.db, connector.id, serial, issued.serial)))
        throw new ControlError(
          'CERTIFICATE_SUPERSEDED',
          'the certificate was replaced or revoked in the meantime',
        )
      await change.audit('connector-certificate-renewed', connector.id, {
        name: connector.name,
        serial: issued.serial,
        replaces: serial,
        clientAddress,
      })
    })
    return {
      certificate: issued.certificatePem,
      caBundle: authority.certificatePem,
      connectorId: connector.id,
      connectorGroup: connector.groupName,
      service,
    }
  }

  #leafOf(connectorId: string) {
    return {
      subject: [{ O: ['Sallyport'] }, { CN: [`connector ${connectorId}`] }],
      names: [
        {
          type: 'url' as const,
          value: `spiffe://${this.#options.baseDomain}/connector/${connectorId}`,
        },
      ],
      usage: ExtendedKeyUsage.clientAuth,
      lifetimeMs: certificateLifetimeMs,
    }
  }

  /** Two want to be this connector: an administrator must hear of it. */
  async #replayed(
    token: enrolmentTokens.EnrolmentToken,
    clientAddress: string,
  ): Promise<ControlError> {
    const noticed = await this.#notices.record(token.id, {
      kind: 'enrolment-token-replayed',
      actor: `address:${clientAddress}`,
      subject: token.id,
      detail: { connectorGroup: token.groupName, connectorId: token.connectorId, clientAddress },
    })
    if (noticed)
      this.#options.log.warn(
        { tokenId: token.id, clientAddress },
        'a used enrolment token was shown again',
      )
    return new ControlError(
      'TOKEN_USED',
      'the enrolment token was used before; if that was not you, revoke the connector that used it',
    )
  }
}

/**
 * Takes the public key from a signing request, and nothing else.
 *
 * @returns SubjectPublicKeyInfo, DER
 * @throws ControlError `CSR_INVALID` unless it is P-256 and signed by its own key
 * @see RFC 2986
 */
async function readSigningRequest(pem: string): Promise<Uint8Array<ArrayBuffer>> {
  const invalid = (message: string, cause?: unknown) =>
    new ControlError('CSR_INVALID', `the certificate signing request ${message}`, { cause })
  let request: Pkcs10CertificateRequest
  let proven: boolean
  try {
    request = new Pkcs10CertificateRequest(pem)
    const { name, namedCurve } = request.publicKey.algorithm as EcKeyAlgorithm
    if (name !== 'ECDSA' || namedCurve !== 'P-256') throw invalid('must hold a P-256 key')
    proven = await request.verify()
  } catch (cause) {
    if (cause instanceof ControlError) throw cause
    throw invalid('cannot be read', cause)
  }
  if (!proven) throw invalid('is not signed by its own key')
  return new Uint8Array(request.publicKey.rawData)
}

interface EcKeyAlgorithm {
  name: string
  namedCurve?: string
}
