import 'reflect-metadata'
import { createPrivateKey, randomBytes, sign, webcrypto, X509Certificate } from 'node:crypto'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import type { Control } from '@sallyport/control'
import { type Answer, baseDomain, post, type TestControl } from './service.ts'

export const p256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

export interface Keys {
  pair: webcrypto.CryptoKeyPair
  keyPem: string
}

export async function makeKeys(namedCurve = 'P-256'): Promise<Keys> {
  const pair = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve }, true, [
    'sign',
    'verify',
  ])
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', pair.privateKey))
  const keyPem = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
    .export({ type: 'pkcs8', format: 'pem' })
    .toString()
  return { pair, keyPem }
}

/** A signing request that asks for more than a connector may have. */
export async function makeCsr({ pair }: Keys, greedy = false): Promise<string> {
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: greedy ? 'CN=login.sallyport.localhost, O=Evil' : 'CN=connector',
    keys: pair,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: greedy
      ? [
          new BasicConstraintsExtension(true, 3, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
          new SubjectAlternativeNameExtension([
            { type: 'dns', value: 'login.sallyport.localhost' },
            { type: 'url', value: `spiffe://${baseDomain}/connector/somebody-else` },
            { type: 'ip', value: '10.0.0.1' },
          ]),
        ]
      : [],
  })
  return request.toString('pem')
}

/** A certificate that looks like a connector's, of a CA of its own. */
export async function makeForeignCertificate(uri: string): Promise<Buffer> {
  const root = await makeKeys()
  const leaf = await makeKeys()
  const authority = await X509CertificateGenerator.createSelfSigned({
    // The same name as ours: names prove nothing.
    name: `O=Sallyport, CN=Sallyport connector CA ${baseDomain}`,
    keys: root.pair,
    signingAlgorithm: p256,
    extensions: [new BasicConstraintsExtension(true, 0, true)],
  })
  const certificate = await X509CertificateGenerator.create({
    serialNumber: randomBytes(8).toString('hex'),
    subject: 'CN=connector',
    issuer: authority.subject,
    publicKey: leaf.pair.publicKey,
    signingKey: root.pair.privateKey,
    signingAlgorithm: p256,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'url', value: uri }])],
  })
  return Buffer.from(certificate.rawData)
}

export interface Enrolled {
  keys: Keys
  certificatePem: string
  raw: Buffer
  serial: string
  connectorId: string
}

/** Makes a token and enrols with it. */
export async function enrol(
  { control, execute }: TestControl,
  port: number,
  name = 'branch-1',
): Promise<Enrolled> {
  const { token } = await execute<{ token: string }>('token.create')
  const keys = await makeKeys()
  const { statusCode, body } = await post(control, port, '/v1/enroll', {
    token,
    csr: await makeCsr(keys),
    name,
    instanceId: '5d9a1c9e-7c1f-4ac5-9b0b-3f4a0a1b2c3d',
  })
  if (statusCode !== 200) throw new Error(`not enrolled: ${JSON.stringify(body)}`)
  return toEnrolled(keys, body)
}

export function toEnrolled(keys: Keys, body: Record<string, unknown>): Enrolled {
  const certificatePem = body.certificate as string
  const certificate = new X509Certificate(certificatePem)
  return {
    keys,
    certificatePem,
    raw: certificate.raw,
    serial: certificate.serialNumber.toLowerCase(),
    connectorId: body.connectorId as string,
  }
}

export function signChallenge(challenge: string, keyPem: string): string {
  return sign('sha256', Buffer.from(challenge, 'utf8'), keyPem).toString('base64url')
}

/** Asks for a challenge and renews with it, as a connector does. */
export async function renew(
  control: Control,
  port: number,
  { certificatePem, keys }: Enrolled,
  newKeys: Keys = keys,
): Promise<Answer> {
  const asked = await post(control, port, '/v1/challenge', { certificate: certificatePem })
  if (asked.statusCode !== 200) return asked
  const challenge = asked.body.challenge as string
  return post(control, port, '/v1/renew', {
    certificate: certificatePem,
    csr: await makeCsr(newKeys),
    challenge,
    signature: signChallenge(challenge, keys.keyPem),
  })
}
