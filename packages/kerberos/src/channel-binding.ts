import { createHash, type X509Certificate } from 'node:crypto'

/** Signature algorithms whose hash is used as it is; MD5 and SHA-1 count as SHA-256 (RFC 5929 section 4.1). */
const hashes = ['sha384', 'sha512'] as const

/** `tls-server-end-point` of the certificate that the application showed. */
export function toEndPointBinding(certificate: X509Certificate): Buffer {
  const algorithm = certificate.signatureAlgorithm?.toLowerCase() ?? ''
  const hash = hashes.find((name) => algorithm.includes(name)) ?? 'sha256'
  const digest = createHash(hash).update(certificate.raw).digest()
  return Buffer.concat([Buffer.from('tls-server-end-point:'), digest])
}
