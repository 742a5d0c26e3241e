import type { TokenFormat } from './gss.ts'
import type { UserName } from './names.ts'

/** Sign-on by Kerberos, as the connector uses it: tokens for a user to an application, without the user's doing. */
export interface DelegationEngine {
  /**
   * A token that proves to the application of `spn` that `user` asks. Each is good for one request: another request
   * needs another token, and the same bytes are never sent twice.
   *
   * @throws KerberosError by code; the reason of `signal`
   */
  authorize(request: DelegationRequest): Promise<Authorization>
  /** Forgets the ticket, as after an application refused it: the next token comes of a new one. */
  forgetTicket(user: UserName, spn: string): void
  /** Forgets all tickets of a user, as after the user's access ended. */
  forgetUser(user: UserName): void
  /** Proves that keytab, clock and KDC are in order. @throws KerberosError what is not */
  checkAccount(): Promise<AccountFacts>
  /** Forgets everything. What is asked for afterwards throws. */
  close(): void
}

export interface AccountFacts {
  /** By how much the KDC's clock is ahead of ours; undefined when the engine does not say. */
  kdcOffsetMs: number | undefined
}

export interface DelegationRequest {
  user: UserName
  /** `HTTP/app.corp.example` */
  spn: string
  format: TokenFormat
  /** Application data of the TLS connection to the application, such as `toEndPointBinding` makes it. */
  channelBinding?: Buffer | undefined
  signal?: AbortSignal | undefined
}

export interface Authorization {
  /** To be sent as `Authorization: Negotiate` and this in base64, with this user's request and with no other. */
  token: Buffer
  /** The name that the application sees: `alice@CORP.EXAMPLE`. */
  principal: string
  /**
   * @param reply token of the answer's `WWW-Authenticate: Negotiate`, if it has one
   * @throws KerberosError `KERBEROS_MUTUAL_AUTHENTICATION_FAILED`, and what the application itself says was wrong
   */
  verifyReply(reply: Buffer | undefined): void | Promise<void>
  /** The request is over, answered or not: nothing of it has to be kept. */
  release?(): void
}
