/** What sign-on and pages may say about a person. Read from the directory, never from the client. */
export interface Claims {
  /** Object ID of the user. */
  objectId: string
  userName: string
  displayName: string
  mail: string | undefined
  /** Groups the user belongs to, directly or through other groups. */
  groups: readonly { id: string; name: string }[]
}

/**
 * Proof that somebody signed in, as identity keeps it. Instants are epoch milliseconds.
 */
export interface IdentitySession {
  sessionId: string
  userId: string
  /** The user's sign-in epoch when the session began; any change that ends access raises the user's. */
  signInEpoch: number
  /** RFC 8176 authentication method references, such as `pwd`. */
  methods: readonly string[]
  signedInAt: number
  /** Nothing prolongs a session past this instant. */
  absoluteExpiresAt: number
  claims: Claims
}

/** What a request's session proves: the sealed cookie's facts joined with the claims of the session. */
export interface Session {
  sessionId: string
  userId: string
  signInEpoch: number
  methods: readonly string[]
  signedInAt: number
  /** End of the cookie's own life; a re-seal moves it. */
  expiresAt: number
  absoluteExpiresAt: number
  claims: Claims
  /** The user's ID and the IDs of all groups the user is in, for assignment. */
  principalIds: readonly string[]
}

/** What the store's feed tells every gateway. */
export type AccessEvent =
  /**
   * The feed was lost and is there again: events may have been missed, and whoever keeps what they said must
   * read it anew. Comes before everything that the feed brings from now on.
   */
  | { kind: 'feed-interrupted'; at: number }
  | { kind: 'session-ended'; sessionId: string; at: number }
  /** Every session of the user with a lower epoch has ended. */
  | { kind: 'user-epoch'; userId: string; signInEpoch: number; at: number }
  /** Names, mail or groups changed: cached claims are stale. */
  | { kind: 'claims-changed'; userId: string; at: number }
  | { kind: 'configuration-changed'; at: number }
  /** Cookies are sealed with another key from now on. */
  | { kind: 'keys-changed'; at: number }
  | { kind: 'connector-revoked'; connectorId: string; at: number }
  /** The connector serves the applications of this group from now on. */
  | { kind: 'connector-moved'; connectorId: string; connectorGroup: string; at: number }

/** What has ended although a cookie may still claim it, which tunnels must not be, and whom the others serve. */
export interface DenySet {
  /** Sessions that ended before their absolute limit, which still lies ahead. `at`: when they ended. */
  endedSessions: readonly { sessionId: string; at: number }[]
  /** Of users who have sessions with a lower epoch. `at`: when this was read. */
  epochs: readonly { userId: string; signInEpoch: number; at: number }[]
  revokedConnectorIds: readonly string[]
  /** Of every other connector: the group whose applications it serves. */
  connectorGroups: readonly { connectorId: string; connectorGroup: string }[]
}
