import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import { ConnectorError } from './errors.ts'

/** What the connector needs to know of its own certificate. Instants are epoch milliseconds. */
export interface CertificateFacts {
  /** Lower-case hex. */
  serial: string
  notBeforeAt: number
  notAfterAt: number
  /** Two thirds of its life are over. */
  renewAt: number
}

/** @throws ConnectorError `STATE_INVALID` */
export function readCertificate(certificatePem: string): CertificateFacts {
  const certificate = parse(certificatePem, 'STATE_INVALID')
  const notBeforeAt = certificate.validFromDate.getTime()
  const notAfterAt = certificate.validToDate.getTime()
  return {
    serial: certificate.serialNumber.toLowerCase(),
    notBeforeAt,
    notAfterAt,
    renewAt: notBeforeAt + Math.floor(((notAfterAt - notBeforeAt) * 2) / 3),
  }
}

/** All certificates of a PEM file. */
export function splitPem(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
}

/**
 * Checks PEM that somebody configured as CAs.
 *
 * @throws ConnectorError `STATE_INVALID`
 */
export function checkAuthorities(pem: string, file: string): void {
  const certificates = splitPem(pem)
  if (certificates.length === 0)
    throw new ConnectorError('STATE_INVALID', `${file} holds no certificate`)
  for (const certificate of certificates) parse(certificate, 'STATE_INVALID')
}

/**
 * Checks that what the service issued can be used: for our key, and from a CA of the bundle.
 *
 * @throws ConnectorError `SERVICE_RESPONSE_INVALID`
 */
export function checkIssued(certificatePem: string, keyPem: string, caPem: string): void {
  const invalid = (message: string) =>
    new ConnectorError('SERVICE_RESPONSE_INVALID', `the certificate that was issued ${message}`)
  const [leaf, ...intermediates] = splitPem(certificatePem).map((pem) =>
    parse(pem, 'SERVICE_RESPONSE_INVALID'),
  )
  if (!leaf) throw invalid('is missing')
  const ours = createPublicKey(createPrivateKey(keyPem))
  if (!leaf.publicKey.equals(ours)) throw invalid('is for another key')
  let current = leaf
  for (const next of intermediates) if (isIssuedBy(current, next)) current = next
  const cas = splitPem(caPem).map((pem) => parse(pem, 'SERVICE_RESPONSE_INVALID'))
  if (!cas.some((ca) => isIssuedBy(current, ca) || current.fingerprint256 === ca.fingerprint256))
    throw invalid('does not come from the pinned CA')
}

/**
 * The CA bundle of an answer, which came over a connection that the pinned CA vouches for. It may
 * hold a root that is still to come into use, and always the one that is in use.
 */
export function readBundle(answer: Record<string, unknown>, pinnedPem: string): string {
  const { caBundle } = answer
  if (caBundle === undefined) return pinnedPem
  const bundle = typeof caBundle === 'string' ? splitPem(caBundle) : []
  if (bundle.length === 0)
    throw new ConnectorError('SERVICE_RESPONSE_INVALID', 'the CA bundle is empty')
  return `${bundle.join('\n')}\n`
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
}

function parse(pem: string, code: 'STATE_INVALID' | 'SERVICE_RESPONSE_INVALID'): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new ConnectorError(code, 'a certificate cannot be read', { cause })
  }
}
