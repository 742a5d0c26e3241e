import { createPrivateKey, sign, X509Certificate } from 'node:crypto'
import type { Issued, Names } from './authority.ts'

export const documentSigning = '1.3.6.1.5.5.7.3.36'

/** The certificate by which connectors of the tests know identity. */
export const identityNames: Names = {
  uri: 'spiffe://sallyport.localhost/identity/sign-on',
  usages: [documentSigning],
}

export function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/** A sign-on assertion by whoever holds the key. @param header replaces fields of the right one */
export function toToken(
  { keyPem, certificatePem }: Issued,
  claims: object,
  header: object = {},
): string {
  const x5c = [new X509Certificate(certificatePem).raw.toString('base64')]
  const input = `${encode({ alg: 'ES256', typ: 'sallyport-sign-on+jwt', x5c, ...header })}.${encode(claims)}`
  const key = createPrivateKey(keyPem)
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

/** Claims that hold now, for the connector of the tests and its `app-1`. */
export function toClaims(origin: string, more: object = {}, nowAt = Date.now()): object {
  const seconds = Math.floor(nowAt / 1000)
  return {
    iss: 'https://login.sallyport.localhost',
    aud: ['c0', 'c1'],
    sub: 'ana',
    sid: 's1',
    app: 'app-1',
    origin,
    method: 'kerberos',
    login: { type: 'principal', name: 'ana' },
    spn: 'HTTP/iwa.corp.example',
    tokenFormat: 'spnego',
    sendToken: 'always',
    iat: seconds - 60,
    exp: seconds + 300,
    ...more,
  }
}
