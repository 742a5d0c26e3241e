import { X509Certificate } from 'node:crypto'
import { AuditNotices, connectors, type Store } from '@sallyport/store'
import { adoptCertificate, isAdoptable } from './adoption.ts'
import { type CertificateAuthority, thumbprint } from './certificate-authority.ts'
import { ControlError } from './errors.ts'
import type { Log } from './log.ts'
import { Refusals } from './refusals.ts'

/** What a tunnel's certificate proves. */
export interface AuthenticatedConnector {
  connectorId: string
  /** Name of the connector group. */
  connectorGroup: string
  name: string
}

/** The other end of a tunnel that is to be opened. */
export interface TunnelPeer {
  /** Its certificate, DER. */
  raw: Buffer
  clientAddress?: string | undefined
}

/** A certificate of the connector CA that names a connector. */
export interface ConnectorProof {
  certificate: X509Certificate
  connectorId: string
  /** Lower-case hex. */
  serial: string
}

export interface ConnectorAuthenticationOptions {
  store: Store
  authority: CertificateAuthority
  baseDomain: string
  clock: () => number
  log: Log
}

/** Who a connector is, by its certificate. */
export class ConnectorAuthentication {
  readonly #options: ConnectorAuthenticationOptions
  readonly #notices: AuditNotices
  readonly #refusals: Refusals

  constructor(options: ConnectorAuthenticationOptions) {
    this.#options = options
    this.#notices = new AuditNotices({ db: options.store.db, clock: options.clock })
    this.#refusals = new Refusals(this.#notices)
  }

  /**
   * Checks the certificate of a tunnel. The first use of a renewed certificate puts it in force; the
   * one before is good for nothing from then on.
   *
   * @param certificate DER, as the TLS socket gives it, and where it comes from; who is refused is recorded
   * @throws ControlError `CERTIFICATE_INVALID`, `CERTIFICATE_EXPIRED`, `CERTIFICATE_SUPERSEDED`,
   *   `CONNECTOR_UNKNOWN`, `CONNECTOR_REVOKED`
   */
  async authenticate({
    raw,
    clientAddress = 'unknown',
  }: TunnelPeer): Promise<AuthenticatedConnector> {
    const proof = this.#read(raw)
    try {
      return await this.#admit(proof)
    } catch (error) {
      await this.#refusals.record(error, { clientAddress, subject: proof.connectorId })
      throw error
    }
  }

  async #admit(proof: ConnectorProof): Promise<AuthenticatedConnector> {
    const { store, clock } = this.#options
    const { certificate, connectorId } = proof
    const nowAt = clock()
    if (nowAt < certificate.validFromDate.getTime() || nowAt >= certificate.validToDate.getTime())
      throw new ControlError(
        'CERTIFICATE_EXPIRED',
        `certificate of connector ${connectorId} is valid ${certificate.validFrom} to ${certificate.validTo}`,
      )
    const connector = await this.#findInForce(proof, true)
    // The last thing asked of the database: who is revoked from here on is revoked after we have
    // answered, and the event of it finds the tunnel.
    if (!(await connectors.markConnectorSeen(store.db, connector.id, proof.serial, nowAt)))
      throw new ControlError(
        'CONNECTOR_REVOKED',
        `connector ${connector.name} was revoked, or renewed its certificate, just now`,
      )
    return {
      connectorId: connector.id,
      connectorGroup: connector.groupName,
      name: connector.name,
    }
  }

  /**
   * Reads the certificate of a connector that asks for a new one: it may have expired.
   *
   * @param pem what the connector sent
   * @throws ControlError `CERTIFICATE_INVALID`
   */
  readForRenewal(pem: string): ConnectorProof {
    return this.#read(pem)
  }

  /**
   * Whether a certificate may be renewed.
   *
   * @param proven whether its key was shown too; without that, what we are told changes nothing and
   *   alarms nobody: certificates are no secret
   * @throws ControlError `CERTIFICATE_SUPERSEDED`, `CONNECTOR_UNKNOWN`, `CONNECTOR_REVOKED`
   */
  async checkInForce(proof: ConnectorProof, proven: boolean): Promise<connectors.Connector> {
    return this.#findInForce(proof, proven)
  }

  #read(encoded: Buffer | string): ConnectorProof {
    const { authority, baseDomain } = this.#options
    let certificate: X509Certificate
    try {
      certificate = new X509Certificate(encoded)
    } catch (cause) {
      throw new ControlError('CERTIFICATE_INVALID', 'certificate cannot be read', { cause })
    }
    if (!authority.hasIssued(certificate))
      throw new ControlError('CERTIFICATE_INVALID', 'certificate is not of the connector CA')
    const prefix = `URI:spiffe://${baseDomain}/connector/`
    const names = certificate.subjectAltName ?? ''
    const connectorId = names.startsWith(prefix) ? names.slice(prefix.length) : ''
    // The CA signs the certificate of connect. too, which names a host and no connector.
    if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(connectorId))
      throw new ControlError('CERTIFICATE_INVALID', 'certificate names no connector')
    return { certificate, connectorId, serial: certificate.serialNumber.toLowerCase() }
  }

  async #findInForce(proof: ConnectorProof, proven: boolean): Promise<connectors.Connector> {
    const { db } = this.#options.store
    const { connectorId, serial } = proof
    const connector = await connectors.findConnectorById(db, connectorId)
    if (!connector)
      throw new ControlError('CONNECTOR_UNKNOWN', `there is no connector ${connectorId}`)
    if (connector.revokedAt !== undefined)
      throw new ControlError('CONNECTOR_REVOKED', `connector ${connector.name} was revoked`)
    if (serial === connector.certificateSerial) return connector
    if (serial === connector.nextCertificateSerial) {
      if (!proven || (await this.#promote(proof))) return connector
      // Of two tunnels that begin at once with a renewed certificate, one promotes it.
      const again = await connectors.findConnectorById(db, connectorId)
      if (again?.certificateSerial === serial && again.revokedAt === undefined) return again
    }
    if (await isAdoptable(db, connector, proof)) {
      if (!proven || (await this.#adopt(connector, proof))) return connector
      const again = await connectors.findConnectorById(db, connectorId)
      if (again?.certificateSerial === serial && again.revokedAt === undefined) return again
    }
    if (proven) await this.#noticeSuperseded(connector, serial)
    throw new ControlError(
      'CERTIFICATE_SUPERSEDED',
      `connector ${connector.name} showed a certificate that a newer one replaced; if its machine was not restored from a backup, somebody has its key: revoke it and enrol it again`,
    )
  }

  #adopt(connector: connectors.Connector, proof: ConnectorProof): Promise<boolean> {
    const { store, clock } = this.#options
    return adoptCertificate(store.db, connector, proof, keyThumbprint(proof.certificate), clock())
  }

  #promote({ certificate, connectorId, serial }: ConnectorProof): Promise<boolean> {
    return connectors.promoteCertificate(this.#options.store.db, connectorId, {
      serial,
      notAfterAt: certificate.validToDate.getTime(),
      publicKeyThumbprint: keyThumbprint(certificate),
    })
  }

  async #noticeSuperseded(connector: connectors.Connector, serial: string): Promise<void> {
    const noticed = await this.#notices.record(connector.id, {
      kind: 'connector-certificate-superseded-used',
      actor: `connector:${connector.id}`,
      subject: connector.id,
      detail: { name: connector.name, serial },
    })
    if (noticed)
      this.#options.log.warn(
        { connector: connector.name, serial },
        'superseded connector certificate was used',
      )
  }
}

function keyThumbprint({ publicKey }: X509Certificate): string {
  return thumbprint(publicKey.export({ type: 'spki', format: 'der' }))
}
