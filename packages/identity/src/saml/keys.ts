import { createPrivateKey } from 'node:crypto'
import type { SigningKey } from '@sallyport/sso/saml'
import { type Store, saml } from '@sallyport/store'

const purpose = 'saml-signing-key'

/** Certificates of an application, PEM, the one that signs first. */
export async function listSamlCertificates(
  db: Store['db'],
  applicationId: string,
): Promise<string[]> {
  return (await saml.listCertificates(db, applicationId)).map(({ certificate }) => certificate)
}

/**
 * The key that signs for an application. It is read each time: a sign-on is rare, and a key that was changed signs at once
 * in every process.
 */
export async function readSigningKey(
  db: Store['db'],
  open: (purpose: string, sealed: string) => Buffer,
  applicationId: string,
): Promise<SigningKey> {
  const [active] = await saml.listCertificates(db, applicationId)
  if (!active) throw new Error(`the application ${applicationId} has no key to sign with yet`)
  return {
    privateKey: createPrivateKey({
      key: open(purpose, active.sealedKey),
      format: 'der',
      type: 'pkcs8',
    }),
    certificatePem: active.certificate,
  }
}
