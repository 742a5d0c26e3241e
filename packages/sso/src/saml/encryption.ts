import { constants, createCipheriv, publicEncrypt, randomBytes, X509Certificate } from 'node:crypto'
import { namespaces } from './names.ts'
import { certificateBody } from './signature.ts'
import { type Xml, xml } from './xml.ts'

export type EncryptionAlgorithm = 'aes256-gcm' | 'aes256-cbc'

const algorithms = {
  'aes256-gcm': {
    uri: 'http://www.w3.org/2009/xmlenc11#aes256-gcm',
    cipher: 'aes-256-gcm',
    iv: 12,
  },
  'aes256-cbc': {
    uri: 'http://www.w3.org/2001/04/xmlenc#aes256-cbc',
    cipher: 'aes-256-cbc',
    iv: 16,
  },
} as const

/**
 * Encrypts an element for the key of a certificate: a fresh AES key, wrapped by RSA-OAEP (XML Encryption 1.1 sections 5.2
 * and 5.5.2). OAEP is not weakened by its SHA-1, and with that every service provider can.
 *
 * @param certificatePem of an RSA key
 */
export function encryptElement(
  element: Xml,
  certificatePem: string,
  algorithm: EncryptionAlgorithm,
): Xml {
  const { uri, cipher, iv } = algorithms[algorithm]
  const key = randomBytes(32)
  const wrapped = publicEncrypt(
    {
      key: new X509Certificate(certificatePem).publicKey,
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: 'sha1',
    },
    key,
  )
  return xml`<xenc:EncryptedData xmlns:xenc="${namespaces.encryption}" Type="${namespaces.encryption}Element"><xenc:EncryptionMethod Algorithm="${uri}"/><ds:KeyInfo xmlns:ds="${namespaces.signature}"><xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="${namespaces.encryption}rsa-oaep-mgf1p"><ds:DigestMethod Algorithm="${namespaces.signature}sha1"/></xenc:EncryptionMethod><ds:KeyInfo><ds:X509Data><ds:X509Certificate>${certificateBody(certificatePem)}</ds:X509Certificate></ds:X509Data></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>${wrapped.toString('base64')}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>${encrypt(element.text, key, cipher, iv)}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>`
}

/** Base64 of IV, cipher text and, for GCM, tag. Node pads CBC as PKCS #7 does, which is one of the ways of section 5.2.2. */
function encrypt(
  text: string,
  key: Buffer,
  name: 'aes-256-gcm' | 'aes-256-cbc',
  ivBytes: number,
): string {
  const iv = randomBytes(ivBytes)
  if (name === 'aes-256-cbc') {
    const cipher = createCipheriv(name, key, iv)
    return Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final()]).toString('base64')
  }
  const cipher = createCipheriv(name, key, iv)
  const body = [cipher.update(text, 'utf8'), cipher.final()]
  return Buffer.concat([iv, ...body, cipher.getAuthTag()]).toString('base64')
}
