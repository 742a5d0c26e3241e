import { StoreError, type StoreErrorCode } from './errors.ts'

/** By SQLSTATE (PostgreSQL documentation, appendix A), the exact one before its class. */
const states: Partial<Record<string, readonly [StoreErrorCode, string?]>> = {
  '08': ['STORE_UNREACHABLE'],
  '23': ['STORE_QUERY_FAILED'],
  '28': ['STORE_ACCESS_DENIED', 'check the user of database.url and the password file'],
  '3D000': ['STORE_MISSING', 'create it, or correct the name in database.url'],
  '40001': ['STORE_CONFLICT'],
  '40P01': ['STORE_CONFLICT'],
  '42501': ['STORE_ACCESS_DENIED', 'the user must own the database: CREATE DATABASE ... OWNER ...'],
  '53300': ['STORE_UNREACHABLE', 'raise max_connections, or end other clients'],
  '55P03': ['STORE_BUSY'],
  // The server shuts down, was killed, or is starting.
  '57P01': ['STORE_UNREACHABLE'],
  '57P02': ['STORE_UNREACHABLE'],
  '57P03': ['STORE_UNREACHABLE'],
  // It ended a transaction that did nothing for too long.
  '25P03': ['STORE_UNREACHABLE'],
}

const certificateRemedy =
  "name the authority's certificate in database.caFile, and the host of database.url as the certificate does"

/** What Node says of a certificate (Node documentation, "X509 certificate error codes"). */
const certificateCodes: ReadonlySet<string> = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/** Reasons that people know by other words. */
const networkWords: Partial<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOENT: 'there is no such socket',
  ENOTFOUND: 'the host name does not exist',
  EAI_AGAIN: 'the host name could not be looked up',
  ECONNRESET: 'the connection was cut',
  ETIMEDOUT: 'no answer',
  EACCES: 'the socket is closed to this user',
}

/**
 * What pg reports, as the store reports it. Errors of programmers stay what they are.
 *
 * @param place such as `database sallyport on db.example:5432`
 */
export function toStoreError(error: unknown, place: string): unknown {
  if (error instanceof StoreError || error instanceof TypeError || error instanceof RangeError)
    return error
  if (!(error instanceof Error)) return error
  const { code = '' } = error as { code?: string }
  if (/^[0-9A-Z]{5}$/.test(code) && !code.startsWith('E')) return ofState(code, error, place)
  if (certificateCodes.has(code))
    return new StoreError('STORE_UNTRUSTED', `${place}: ${error.message}; ${certificateRemedy}`, {
      cause: error,
    })
  // Without a code: the connection broke, or an answer took too long.
  const why = networkWords[code] ?? networkWords[firstCode(error)] ?? (error.message || code)
  return new StoreError('STORE_UNREACHABLE', `${place}: ${why}`, { cause: error })
}

/** Whether the connection is good for nothing more: a failed statement leaves it usable, a broken one not. */
export function isConnectionLost(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'STORE_UNREACHABLE'
}

function ofState(state: string, error: Error, place: string): StoreError {
  const [code, remedy] = states[state] ?? states[state.slice(0, 2)] ?? ['STORE_QUERY_FAILED']
  // A statement says for itself what is wrong with it.
  const where = code === 'STORE_QUERY_FAILED' ? '' : `${place}: `
  return new StoreError(code, `${where}${error.message}${remedy ? `; ${remedy}` : ''}`, {
    cause: error,
    constraint: state.startsWith('23'),
  })
}

/** A host with several addresses fails with one error for each. */
function firstCode(error: Error): string {
  if (!(error instanceof AggregateError)) return ''
  return (error.errors[0] as { code?: string } | undefined)?.code ?? ''
}
