import 'reflect-metadata'
import { createPrivateKey, createPublicKey, generateKeyPairSync, webcrypto } from 'node:crypto'
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509'

const p256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** A new P-256 key, PKCS #8 PEM. */
export function generateKey(): string {
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  return privateKey
}

/**
 * A certificate signing request (RFC 2986) for the key. Its subject says nothing: the service takes
 * only the public key from it.
 *
 * @returns PEM
 */
export async function createSigningRequest(keyPem: string): Promise<string> {
  const key = createPrivateKey(keyPem)
  const { subtle } = webcrypto
  const privateKey = await subtle.importKey(
    'pkcs8',
    key.export({ type: 'pkcs8', format: 'der' }),
    p256,
    false,
    ['sign'],
  )
  const publicKey = await subtle.importKey(
    'spki',
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    p256,
    true,
    ['verify'],
  )
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: 'CN=connector',
    keys: { privateKey, publicKey },
    signingAlgorithm: p256,
  })
  return request.toString('pem')
}
