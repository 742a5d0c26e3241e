import type { Generated } from 'kysely'

/**
 * The tables. Ids are text, instants epoch milliseconds, booleans 0 or 1, JSON is text: so the same
 * queries run on SQLite and PostgreSQL.
 */
export interface Database {
  setting: { key: string; value: string }
  user: {
    id: string
    /** Lower case; what people type to sign in. */
    userName: string
    displayName: string
    mail: string | null
    onPremisesUserPrincipalName: string | null
    onPremisesSamAccountName: string | null
    onPremisesDomainName: string | null
    /** argon2id in PHC string form; null: cannot sign in with a password. */
    passwordHash: string | null
    enabled: number
    signInEpoch: Generated<number>
    createdAt: number
    updatedAt: number
  }
  group: { id: string; name: string; createdAt: number }
  groupMember: { groupId: string; memberId: string; memberKind: 'user' | 'group' }
  /** `definition` is the JSON of domain's `Application` or `LinkedApplication`. */
  application: {
    id: string
    name: string
    definition: string
    createdAt: number
    updatedAt: number
  }
  assignment: { applicationId: string; principalId: string; principalKind: 'user' | 'group' }
  connectorGroup: { id: string; name: string; createdAt: number }
  connector: {
    id: string
    name: string
    groupId: string
    /** Base64url SHA-256 of the SubjectPublicKeyInfo. */
    publicKeyThumbprint: string
    /** Serial number of the certificate in force, lower-case hex. */
    certificateSerial: string
    /** Serial of a renewed certificate that has not been used yet; it supersedes the other when it is. */
    nextCertificateSerial: string | null
    certificateNotAfterAt: number
    enrolledAt: number
    lastSeenAt: number | null
    revokedAt: number | null
    /** Public key that credentials are sealed to: base64url of 32 bytes; null until the connector has told it. */
    sealingKey: string | null
    /** Proof that an administrator compared the key: made with the key file. */
    sealingKeyApproval: string | null
  }
  /** Passwords for applications, without the passwords. */
  credential: {
    id: string
    applicationId: string
    subjectId: string
    subjectKind: 'user' | 'group'
    origin: string
    action: string
    version: number
    setBy: 'person' | 'administrator'
    updatedAt: number
    refusedAt: number | null
  }
  /** A credential as one connector can open it. */
  sealedCredential: { credentialId: string; connectorId: string; sealed: string }
  enrolmentToken: {
    id: string
    /** SHA-256 of the token, hex. */
    tokenHash: string
    groupId: string
    createdAt: number
    expiresAt: number
    usedAt: number | null
    connectorId: string | null
  }
  /** Private keys and secrets, sealed with the key file. */
  secret: {
    id: string
    purpose: string
    sealed: string
    createdAt: number
    retiredAt: number | null
  }
  /** Certificate authorities and other public material belong beside their sealed key: JSON. */
  oidcModel: {
    model: string
    id: string
    payload: string
    grantId: string | null
    uid: string | null
    userCode: string | null
    accountId: string | null
    expiresAt: number | null
    consumedAt: number | null
  }
  session: {
    /** The OpenID provider session's uid. */
    id: string
    userId: string
    signInEpoch: number
    /** JSON array of RFC 8176 methods. */
    methods: string
    signedInAt: number
    absoluteExpiresAt: number
    endedAt: number | null
    endReason: string | null
    clientAddress: string | null
    userAgent: string | null
    /** As gateways say, about once a minute; null for one from before that was kept. */
    lastUsedAt: number | null
  }
  /** Keys that assertions for one application are signed with. Exactly one of an application is active: it signs. */
  samlCertificate: {
    id: string
    applicationId: string
    /** PEM. */
    certificate: string
    /** Sealed with the key file. */
    sealedKey: string
    createdAt: number
    notAfterAt: number
    active: number
  }
  /** What a SAML application was told in a session; it hears by the same names when that ends. */
  samlSession: {
    sessionId: string
    applicationId: string
    sessionIndex: string
    nameId: string
    nameIdFormat: string
    begunAt: number
  }
  /** What applications that sign people on by OpenID Connect prove with that they are the ones. */
  oidcClientSecret: {
    id: string
    applicationId: string
    /** SHA-256, hex. */
    secretHash: string
    createdAt: number
    lastUsedAt: number | null
  }
  /** Applications that are still to be told that a session has ended. */
  logoutNotice: {
    id: string
    clientId: string
    userId: string
    sid: string
    endedAt: number
    attempts: number
    nextAt: number
  }
  auditEvent: {
    id: string
    at: number
    kind: string
    actor: string
    subject: string
    /** JSON. */
    detail: string
  }
}
