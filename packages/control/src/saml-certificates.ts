import 'reflect-metadata'
import {
  createPublicKey,
  generateKeyPair,
  randomBytes,
  webcrypto,
  X509Certificate,
} from 'node:crypto'
import { promisify } from 'node:util'
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import type { Snapshot } from '@sallyport/domain'
import { applications, saml } from '@sallyport/store'
import { backdateMs } from './certificate-authority.ts'
import type { Db } from './configuration.ts'
import type { KeyFile } from './key-file.ts'

/** As Entra's. Service providers know it by itself and not by an authority, so many do not even look at its end. */
const lifetimeMs = 3 * 365 * 86_400_000
const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as const

/** What seals the keys in the store. */
export const samlKeyPurpose = 'saml-signing-key'

/** A key that nobody has yet, and its certificate. */
export type MadeCertificate = Omit<saml.SamlCertificate, 'applicationId' | 'active'>

/** Makes an RSA key, which every service provider can verify with, and a certificate signed by itself. */
export async function makeSamlCertificate(
  applicationName: string,
  keyFile: KeyFile,
  nowAt: number,
): Promise<MadeCertificate> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  const der = privateKey.export({ type: 'pkcs8', format: 'der' })
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' })
  const { subtle } = webcrypto
  const id = randomBytes(6).toString('hex')
  const certificate = await X509CertificateGenerator.createSelfSigned({
    // The first byte keeps the number positive.
    serialNumber: `40${id}`,
    name: [{ O: ['Sallyport'] }, { CN: [`SAML signing for ${applicationName}`] }],
    notBefore: new Date(nowAt - backdateMs),
    notAfter: new Date(nowAt + lifetimeMs),
    keys: {
      privateKey: await subtle.importKey('pkcs8', new Uint8Array(der), rsa, false, ['sign']),
      publicKey: await subtle.importKey('spki', new Uint8Array(spki), rsa, true, ['verify']),
    },
    signingAlgorithm: rsa,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    ],
  })
  return {
    id,
    certificate: `${certificate.toString('pem').trim()}\n`,
    sealedKey: keyFile.seal(samlKeyPurpose, der),
    createdAt: nowAt,
    notAfterAt: certificate.notAfter.getTime(),
  }
}

/** Sees to it that every application that signs people on by SAML has a certificate. */
export async function prepareSamlCertificates(
  db: Db,
  keyFile: KeyFile,
  snapshot: Snapshot,
  nowAt: number,
): Promise<void> {
  const wanted = [...snapshot.applications.values()]
    .map(({ application }) => application)
    .filter(({ signOn }) => signOn.method === 'saml')
  if (wanted.length === 0) return
  const certified = await saml.listCertifiedApplications(db)
  for (const { id: applicationId, name } of wanted) {
    if (certified.has(applicationId)) continue
    const made = await makeSamlCertificate(name, keyFile, nowAt)
    await db.transaction().execute(async (db) => {
      // Another process on the same database may have been first, and the application may be gone.
      if ((await saml.listCertificates(db, applicationId)).length > 0) return
      if (!(await applications.findApplicationById(db, applicationId))) return
      await saml.addCertificate(db, { ...made, applicationId, active: true })
    })
  }
}

/** A certificate as a person reads it. Instants are epoch milliseconds. */
export function toCertificateFacts({
  id,
  certificate,
  active,
  createdAt,
  notAfterAt,
}: saml.SamlCertificate) {
  return {
    id,
    state: active ? 'signs' : 'announced',
    createdAt,
    notAfterAt,
    fingerprint: new X509Certificate(certificate).fingerprint256,
  }
}
