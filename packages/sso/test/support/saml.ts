import { execFileSync } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Claims, type SamlSignOn, samlSignOnSchema } from '@sallyport/domain'
import type { Addressing, SigningKey, Statement } from '../../src/saml/index.ts'

/** An RSA key with a certificate signed by itself; openssl makes it. */
export function makeKey(bits = 2_048): SigningKey & { keyPem: string } {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-saml-'))
  try {
    const [key, cert] = [join(folder, 'key'), join(folder, 'cert')]
    const options = `req -x509 -newkey rsa:${bits} -nodes -days 2 -subj /CN=saml -keyout ${key} -out ${cert}`
    execFileSync('openssl', options.split(' '), { stdio: 'ignore' })
    const keyPem = readFileSync(key, 'utf8')
    return {
      privateKey: createPrivateKey(keyPem),
      keyPem,
      certificatePem: readFileSync(cert, 'utf8'),
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export const idp = makeKey()
export const sp = makeKey()

export const issuer = 'https://login.example.test/0f1e2d3c-4b5a-4968-8776-655443322110/'
export const audience = 'https://hr.example.test/saml/metadata'
export const recipient = 'https://hr.example.test/saml/acs'
export const nowAt = Date.now()

export const claims: Claims = {
  objectId: 'b1d0c7f4-7c39-4c4e-9a55-2f6d1c9f3a10',
  userName: 'ana',
  displayName: 'Ana Lindqvist',
  mail: 'ana@example.test',
  groups: [
    { id: '1', name: 'engineers' },
    { id: '2', name: 'a;admins' },
  ],
}

export function signOn(more: Partial<Record<keyof SamlSignOn, unknown>> = {}): SamlSignOn {
  return samlSignOnSchema.parse({
    method: 'saml',
    entityId: audience,
    assertionConsumerServices: [{ url: recipient }],
    ...more,
  })
}

export const addressing: Addressing = {
  issuer,
  audience,
  recipient,
  inResponseTo: '_request',
  nowAt,
}

export function statement(more: Partial<Statement> = {}): Statement {
  return {
    nameId: { value: 'ana', format: 'unspecified' },
    attributes: [],
    sessionIndex: '_session',
    signedInAt: nowAt - 5_000,
    sessionExpiresAt: nowAt + 3_600_000,
    authnContext: 'urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport',
    ...more,
  }
}

export function decode(base64: string): string {
  return Buffer.from(base64, 'base64').toString('utf8')
}

/**
 * Whether libxmlsec finds the signature good.
 *
 * @param element whose signature it is: `Response` or `Assertion`
 */
export function verifiesWithXmlsec(xml: string, element: 'Response' | 'Assertion'): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-xmlsec-'))
  try {
    const [document, certificate] = [join(folder, 'document'), join(folder, 'certificate')]
    writeFileSync(document, xml)
    writeFileSync(certificate, idp.certificatePem)
    execFileSync(
      'xmlsec1',
      [
        '--verify',
        ...['--pubkey-cert-pem', certificate, '--enabled-key-data', 'key-name,x509,rsa'],
        ...['--id-attr:ID', 'urn:oasis:names:tc:SAML:2.0:protocol:Response'],
        ...['--id-attr:ID', 'urn:oasis:names:tc:SAML:2.0:assertion:Assertion'],
        '--node-xpath',
        `//*[local-name(.)='${element}']/*[local-name(.)='Signature']`,
        document,
      ],
      { stdio: 'pipe' },
    )
    return true
  } catch (error) {
    if ((error as { status?: number }).status === 1) return false
    throw error
  } finally {
    rmSync(folder, { recursive: true })
  }
}
