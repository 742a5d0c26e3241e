import { createHash, randomBytes } from 'node:crypto'

/** A one-time enrolment token: 256 random bits, and the fingerprint by which its holder knows the CA. */
export function makeEnrolmentToken(caFingerprint: string): string {
  return `sp1.${randomBytes(32).toString('base64url')}.${caFingerprint}`
}

export function isEnrolmentToken(text: string): boolean {
  return /^sp1\.[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{43}$/.test(text)
}

/** What the store keeps. The token is random, so a plain hash suffices. */
export function hashEnrolmentToken(token: string): string {
  return createHash('sha256').update(token, 'utf8').digest('hex')
}
