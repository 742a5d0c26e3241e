/** The step in which something failed. `ap` is the exchange with the application. */
export type KerberosStage = 'local' | 'as' | 'tgs' | 's4u2self' | 's4u2proxy' | 'ap'

/**
 * What failed, and what an administrator does about it. The codes are stable.
 *
 * The connector's own side, found without a KDC, or by the first exchange with it.
 */
const remedies = {
  KERBEROS_KEYTAB_UNREADABLE:
    "check the keytab's path, and that the connector's user may read the file",
  KERBEROS_KEYTAB_EXPOSED: 'others may read the keytab: chmod 600 it, owned by the connector',
  KERBEROS_KEYTAB_INVALID: 'export the keytab again',
  KERBEROS_KEYTAB_NO_KEY:
    'export the keytab for exactly this account, after setting its msDS-SupportedEncryptionTypes to 24 (AES) and its password once more',
  KERBEROS_KEYTAB_STALE:
    "the account's password was changed after the keytab was made: export the keytab again, keeping the old keys in it",
  KERBEROS_NAME_INVALID: 'correct the name; it was not sent anywhere',
  KERBEROS_ACCOUNT_UNKNOWN:
    "check the spelling of the connector's account and of its realm, in capitals",
  KERBEROS_ACCOUNT_REVOKED: "enable the connector's account, or extend its expiry date",
  KERBEROS_ACCOUNT_PASSWORD_EXPIRED:
    "renew the password of the connector's account, let it never expire, and export the keytab again",
  KERBEROS_FAST_REQUIRED:
    'the domain answers only armored requests (FAST), which needs a ticket of another account first: exempt the account from the policy',
  KERBEROS_ETYPE_UNSUPPORTED:
    'set msDS-SupportedEncryptionTypes of the account to 24 (AES), then its password once more',
  KERBEROS_CLOCK_SKEW: 'set both clocks by NTP: more than five minutes apart is refused',
  KERBEROS_REALM_UNKNOWN:
    'name the KDCs of the realm, or give the connector a DNS server that has _kerberos._tcp of it',
  KERBEROS_KDC_UNREACHABLE:
    'open TCP port 88 from the connector to the domain controllers, and check that they run',
  KERBEROS_KDC_REPLY_INVALID:
    'the answer does not belong to the question: check that the address is a domain controller of this realm, and that nothing on the way changes its answers',
  KERBEROS_KDC_REFUSED: "look at the KDC's code, and at its event log of this moment",
  KERBEROS_REFERRAL_REFUSED:
    'the KDCs point at each other, or at a realm that was not asked for: check the trusts between the domains',
  KERBEROS_ENGINE_UNAVAILABLE:
    'install the Debian package libgssapi-krb5-2, and the npm package koffi, which is left out by --omit=optional; or use the native engine',
  KERBEROS_S4U_UNSUPPORTED:
    'the KDC does not impersonate users: it must be of Active Directory, and the user another than the account itself',
  KERBEROS_USER_UNKNOWN:
    'the directory has no such user: check which attribute names the user, and the realm; users of other domains need KDCs that impersonate across a trust, which those of Samba and MIT do not',
  KERBEROS_USER_DISABLED:
    "enable the user's account in the directory, or unlock it after wrong passwords: Unlock-ADAccount",
  KERBEROS_USER_EXPIRED: "extend the user's account in the directory",
  KERBEROS_USER_PASSWORD_EXPIRED:
    'let the user change the password in the domain, or clear "must change password"',
  KERBEROS_USER_MISMATCH:
    'the directory found another account by this name: send the sAMAccountName, spelt as in the directory, or its userPrincipalName',
  KERBEROS_USER_REFUSED: 'this account is never impersonated, by a rule of the connector',
  KERBEROS_ACCOUNT_SENSITIVE:
    'the user may not be impersonated: "sensitive and cannot be delegated" is set, or the user is one of Protected Users',
  KERBEROS_DELEGATION_DENIED:
    "let the connector's account delegate to this SPN (msDS-AllowedToDelegateTo with protocol transition), or let the application's account name it (PrincipalsAllowedToDelegateToAccount)",
  KERBEROS_SPN_UNKNOWN:
    'register the SPN on the account that runs the application: setspn -S SPN ACCOUNT; check that only one account has it: setspn -X',
  KERBEROS_APPLICATION_REFUSED:
    "the application did not take the ticket: check that the SPN belongs to the account that runs it, and the application's keytab",
  KERBEROS_MUTUAL_AUTHENTICATION_FAILED:
    'whoever answered did not prove to hold the key of the SPN: check the SPN and the address of the application',
} as const

export type KerberosErrorCode = keyof typeof remedies

/** What is known about a failure; times in epoch milliseconds. For logs: names of users are in it. */
export interface KerberosFacts {
  stage?: KerberosStage
  realm?: string
  /** The connector's account. */
  account?: string
  user?: string
  spn?: string
  file?: string
  /** The key version that is missing or old. */
  kvno?: number
  etypes?: readonly string[]
  /** RFC 4120 section 7.5.9, as the KDC or the application sent it. */
  kerberosCode?: number
  kerberosName?: string
  /** What the other side wrote: not to be trusted, for logs only. */
  text?: string
  /** Windows' own reason, such as 0xc0000234 for a locked account. */
  ntStatus?: string
  clientAt?: number
  kdcAt?: number
  /** KDCs that were tried, and what became of it. */
  attempts?: readonly { host: string; port: number; reason: string }[]
  /** Until when nothing is tried again. */
  retryAt?: number
  /** Which of the reasons of one code it is, where the KDC's answer allows to tell. */
  reason?: string
  cause?: unknown
}

/** Nothing sent again helps until somebody has changed something; these are the others. */
const passing: readonly KerberosErrorCode[] = ['KERBEROS_KDC_UNREACHABLE']

export class KerberosError extends Error {
  override readonly name = 'KerberosError'
  readonly code: KerberosErrorCode
  readonly facts: Readonly<Omit<KerberosFacts, 'cause'>>

  constructor(code: KerberosErrorCode, message: string, { cause, ...facts }: KerberosFacts = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.facts = facts
  }

  /** What to do, for an administrator. */
  get remedy(): string {
    return remedies[this.code]
  }

  /** True when the same request may succeed later without anybody's doing. */
  get retryable(): boolean {
    return passing.includes(this.code)
  }
}

export const kerberosErrorCodes = Object.keys(remedies) as KerberosErrorCode[]
