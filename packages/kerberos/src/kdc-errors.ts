import { DerError, Fields, parseElement, toInteger, toOctets } from './der.ts'
import { KerberosError, type KerberosErrorCode, type KerberosFacts } from './errors.ts'
import type { KrbError } from './messages.ts'

/** RFC 4120 section 7.5.9, RFC 6113 section 5; those that a KDC of Active Directory is known to send. */
export const KdcCode = {
  CLIENT_EXPIRED: 1,
  SERVICE_EXPIRED: 2,
  CLIENT_UNKNOWN: 6,
  SERVER_UNKNOWN: 7,
  PRINCIPAL_NOT_UNIQUE: 8,
  NULL_KEY: 9,
  POLICY: 12,
  BAD_OPTION: 13,
  ETYPE_NOT_SUPPORTED: 14,
  CHECKSUM_NOT_SUPPORTED: 15,
  PADATA_NOT_SUPPORTED: 16,
  CLIENT_REVOKED: 18,
  SERVICE_REVOKED: 19,
  TGT_REVOKED: 20,
  KEY_EXPIRED: 23,
  PREAUTH_FAILED: 24,
  PREAUTH_REQUIRED: 25,
  SERVICE_UNAVAILABLE: 29,
  BAD_INTEGRITY: 31,
  TICKET_EXPIRED: 32,
  TICKET_NOT_YET_VALID: 33,
  REPEAT: 34,
  NOT_US: 35,
  BAD_MATCH: 36,
  SKEW: 37,
  MODIFIED: 41,
  BAD_KEY_VERSION: 44,
  MUTUAL_FAILED: 46,
  INAPPROPRIATE_CHECKSUM: 50,
  GENERIC: 60,
  WRONG_REALM: 68,
} as const

const names = new Map<number, string>(Object.entries(KdcCode).map(([name, code]) => [code, name]))

/** What a code means depends on who was asked what. */
const meanings: Record<'as' | 'tgs' | 's4u2self' | 's4u2proxy' | 'ap', Meanings> = {
  as: {
    CLIENT_EXPIRED: 'KERBEROS_ACCOUNT_REVOKED',
    CLIENT_REVOKED: 'KERBEROS_ACCOUNT_REVOKED',
    CLIENT_UNKNOWN: 'KERBEROS_ACCOUNT_UNKNOWN',
    KEY_EXPIRED: 'KERBEROS_ACCOUNT_PASSWORD_EXPIRED',
    PREAUTH_FAILED: 'KERBEROS_KEYTAB_STALE',
    BAD_INTEGRITY: 'KERBEROS_KEYTAB_STALE',
    WRONG_REALM: 'KERBEROS_REALM_UNKNOWN',
    SERVER_UNKNOWN: 'KERBEROS_REALM_UNKNOWN',
  },
  tgs: {
    SERVER_UNKNOWN: 'KERBEROS_REALM_UNKNOWN',
    TGT_REVOKED: 'KERBEROS_ACCOUNT_REVOKED',
  },
  s4u2self: {
    CLIENT_EXPIRED: 'KERBEROS_USER_EXPIRED',
    CLIENT_UNKNOWN: 'KERBEROS_USER_UNKNOWN',
    CLIENT_REVOKED: 'KERBEROS_USER_DISABLED',
    // Samba says this of a disabled user.
    POLICY: 'KERBEROS_USER_DISABLED',
    KEY_EXPIRED: 'KERBEROS_USER_PASSWORD_EXPIRED',
    PADATA_NOT_SUPPORTED: 'KERBEROS_S4U_UNSUPPORTED',
    // Windows says this of an account without any SPN.
    SERVER_UNKNOWN: 'KERBEROS_S4U_UNSUPPORTED',
    BAD_OPTION: 'KERBEROS_DELEGATION_DENIED',
    TGT_REVOKED: 'KERBEROS_ACCOUNT_REVOKED',
  },
  s4u2proxy: {
    CLIENT_EXPIRED: 'KERBEROS_USER_EXPIRED',
    CLIENT_UNKNOWN: 'KERBEROS_USER_UNKNOWN',
    CLIENT_REVOKED: 'KERBEROS_USER_DISABLED',
    POLICY: 'KERBEROS_USER_DISABLED',
    KEY_EXPIRED: 'KERBEROS_USER_PASSWORD_EXPIRED',
    BAD_OPTION: 'KERBEROS_DELEGATION_DENIED',
    SERVER_UNKNOWN: 'KERBEROS_SPN_UNKNOWN',
    // Two accounts have the SPN.
    PRINCIPAL_NOT_UNIQUE: 'KERBEROS_SPN_UNKNOWN',
    BAD_INTEGRITY: 'KERBEROS_KEYTAB_STALE',
    TGT_REVOKED: 'KERBEROS_ACCOUNT_REVOKED',
  },
  ap: {},
}

type Meanings = Partial<Record<keyof typeof KdcCode, KerberosErrorCode>>

const everywhere: Meanings = {
  ETYPE_NOT_SUPPORTED: 'KERBEROS_ETYPE_UNSUPPORTED',
  SKEW: 'KERBEROS_CLOCK_SKEW',
}

/** A refusal in our words; `facts` say who asked for what. */
export function toKerberosError(
  error: Pick<KrbError, 'code'> & Partial<KrbError>,
  stage: keyof typeof meanings,
  facts: KerberosFacts & { clientAt: number },
): KerberosError {
  const { serverAt } = error
  const name = names.get(error.code) as keyof typeof KdcCode | undefined
  const other = stage === 'ap' ? 'KERBEROS_APPLICATION_REFUSED' : 'KERBEROS_KDC_REFUSED'
  const code = (name && (meanings[stage][name] ?? everywhere[name])) ?? other
  const ntStatus = findNtStatus(error.data)
  const about = [facts.user, facts.spn].filter((part) => part !== undefined).join(' to ')
  const said = `${error.code}${name ? ` ${name}` : ''}${ntStatus ? `, ${ntStatus}` : ''}`
  const clocks =
    name === 'SKEW' && serverAt !== undefined
      ? `, its clock ${toIso(serverAt)}, ours ${toIso(facts.clientAt)}`
      : ''
  const who = stage === 'ap' ? 'the application' : `the KDC of ${facts.realm}`
  return new KerberosError(
    code,
    `${stage}${about ? ` for ${about}` : ''}: ${who} says ${said}${clocks}`,
    {
      ...facts,
      stage,
      kerberosCode: error.code,
      ...(name && { kerberosName: name }),
      ...(error.text !== undefined && { text: error.text.slice(0, 200) }),
      ...(ntStatus !== undefined && { ntStatus }),
      ...(serverAt !== undefined && { kdcAt: serverAt }),
    },
  )
}

/** KERB-EXT-ERROR in the e-data of Active Directory (MS-KILE section 2.2.2). */
function findNtStatus(data: Buffer | undefined): string | undefined {
  if (!data) return undefined
  try {
    const fields = new Fields(parseElement(data), 'KERB-ERROR-DATA')
    const value = fields.find(2)
    if (!value || toInteger(fields.get(1)) !== 3) return undefined
    const bytes = toOctets(value)
    return bytes.length < 4
      ? undefined
      : `NTSTATUS 0x${bytes.readUInt32LE(0).toString(16).padStart(8, '0')}`
  } catch (error) {
    // The data has one of many forms, or none that we know: then there is nothing more to tell.
    if (error instanceof DerError) return undefined
    throw error
  }
}

function toIso(at: number): string {
  return new Date(at).toISOString()
}
