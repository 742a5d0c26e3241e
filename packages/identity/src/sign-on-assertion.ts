import { createHash } from 'node:crypto'
import {
  type CompiledApplication,
  formActionOf,
  type KerberosSignOn,
  type PasswordSignOn,
  type SignOnMethod,
  type Snapshot,
  toKerberosLogin,
  toServicePrincipalName,
} from '@sallyport/domain'
import { connectors, type Store, sessions, users } from '@sallyport/store'
import { findUsableCredential } from './credential-state.ts'
import { IdentityError } from './errors.ts'
import { mayUse } from './may-use.ts'
import type { SignOnSigner } from './sign-on-signer.ts'

/** What a connector is told of a person, signed: it believes nobody else. */
export interface SignOnAssertion {
  /** JWS in compact form (RFC 7515 section 7.1), `typ` `sallyport-sign-on+jwt`, ES256, certificate in `x5c`. */
  token: string
  /** Epoch milliseconds. */
  expiresAt: number
  /** The only connectors that can use it, the one to prefer first; undefined: any of the group. */
  connectorIds: readonly string[] | undefined
  /** The credential that it carries; undefined: none. */
  credential: { id: string; version: number } | undefined
}

export interface SignOnRequest {
  sessionId: string
  applicationId: string
  /** What fills the wildcard of the internal URL; undefined when it has none. */
  label: string | undefined
}

export const lifetimeMs = 5 * 60_000
/** Connectors have clocks of their own. */
export const backdateMs = 60_000

interface Person {
  id: string
  user: users.User
  /** IDs of all groups the person is in, in the order of their names. */
  groupIds: readonly string[]
}

/** What an assertion says by its method, and what the gateway is to know of that. */
export interface SignOnFacts {
  claims: object
  /** The only connectors that can use it, the one to prefer first; undefined: any of the group. */
  connectorIds?: readonly string[]
  /** The credential that it carries. */
  credential?: { id: string; version: number }
}

interface FactsContext {
  db: Store['db']
  compiled: CompiledApplication
  internalHost: string
}

/** What an assertion says beside who and where; the sign-on that the connector does, by method. */
const factsOf: {
  [Method in SignOnMethod]?: (
    signOn: Extract<CompiledApplication['application']['signOn'], { method: Method }>,
    person: Person,
    context: FactsContext,
  ) => SignOnFacts | Promise<SignOnFacts>
} = { kerberos: toKerberosFacts, password: toPasswordFacts }

/** What everything that is said to connectors of people is made of. */
export interface SignOnParts {
  db: Store['db']
  snapshot(): Snapshot
  clock(): number
  issuer: string
  signer: SignOnSigner
}

/** Makes sign-on assertions, for sessions that stand and applications that their users are assigned to. */
export class SignOnAssertions {
  readonly #parts: SignOnParts

  constructor(parts: SignOnParts) {
    this.#parts = parts
  }

  /**
   * Nothing that the caller says is believed but which session and application are meant.
   *
   * @throws IdentityError `SESSION_ENDED`, `SIGN_ON_REFUSED` (the person may not use the application, or it signs on in
   *   another way), `SIGN_ON_NAME_MISSING`, `CREDENTIAL_MISSING`, `CREDENTIAL_REFUSED`
   */
  async make({ sessionId, applicationId, label }: SignOnRequest): Promise<SignOnAssertion> {
    const { db, snapshot, clock, issuer, signer } = this.#parts
    const nowAt = clock()
    const session = await sessions.findIdentitySession(db, sessionId, nowAt)
    const user = session && (await users.findUserById(db, session.userId))
    if (!session || !user)
      throw new IdentityError('SESSION_ENDED', 'the session has ended; nobody is signed on by it')
    const compiled = snapshot().findApplicationById(applicationId)
    if (!compiled || !mayUse(session, compiled))
      throw new IdentityError(
        'SIGN_ON_REFUSED',
        `the user ${user.userName} may not use the application ${applicationId}`,
      )
    const { application } = compiled
    const internalHost = toInternalHost(compiled, label)
    const toFacts = factsOf[application.signOn.method] as
      | ((signOn: object, person: Person, context: FactsContext) => Promise<SignOnFacts>)
      | undefined
    if (!toFacts)
      throw new IdentityError(
        'SIGN_ON_REFUSED',
        `the connector does not sign on to ${application.name}: its method is ${application.signOn.method}`,
      )
    const groupIds = session.claims.groups.map(({ id }) => id)
    const { claims, connectorIds, credential } = await toFacts(
      application.signOn,
      { id: user.id, user, groupIds },
      { db, compiled, internalHost },
    )
    const expiresAt = Math.min(nowAt + lifetimeMs, session.absoluteExpiresAt)
    const assertion = {
      iss: issuer,
      aud: connectorIds ?? (await connectors.listActiveIds(db, application.connectorGroup)),
      sub: user.id,
      sid: session.sessionId,
      app: application.id,
      origin: toOrigin(compiled, internalHost),
      // A gateway that has fallen must not have credentials sent to whoever answers in the origin's place.
      validate: application.validateBackendCertificate,
      method: application.signOn.method,
      ...claims,
      iat: Math.floor((nowAt - backdateMs) / 1000),
      exp: Math.floor(expiresAt / 1000),
    }
    const token = await signer.sign('sallyport-sign-on+jwt', assertion)
    return { token, expiresAt, connectorIds, credential }
  }
}

/** @throws IdentityError `SIGN_ON_REFUSED` when the label could lead anywhere but to one host below the wildcard */
export function toInternalHost(
  { internalHost }: CompiledApplication,
  label: string | undefined,
): string {
  if (!internalHost.startsWith('*.')) return internalHost
  if (label === undefined || !/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(label))
    throw new IdentityError('SIGN_ON_REFUSED', 'the wildcard is filled by no host label')
  return label + internalHost.slice(1)
}

/** @returns `scheme://host[:port]` that is signed on to */
export function toOrigin(
  { internalProtocol, internalPort }: CompiledApplication,
  internalHost: string,
): string {
  return new URL(`${internalProtocol}//${internalHost}:${internalPort}`).origin
}

/** @throws IdentityError `SIGN_ON_NAME_MISSING`, `SIGN_ON_REFUSED` */
export function toKerberosFacts(
  signOn: KerberosSignOn,
  { user }: Pick<Person, 'user'>,
  { internalHost }: Pick<FactsContext, 'internalHost'>,
): SignOnFacts {
  const login = toKerberosLogin(signOn, user)
  if ('missing' in login)
    throw new IdentityError(
      'SIGN_ON_NAME_MISSING',
      `the user ${user.userName} has no ${login.missing}, which is their name in the domain; set it: sallyport user update`,
    )
  const spn = toServicePrincipalName(signOn.kerberosServicePrincipalName, internalHost)
  if (spn === undefined)
    throw new IdentityError(
      'SIGN_ON_REFUSED',
      `${signOn.kerberosServicePrincipalName} does not cover ${internalHost}`,
    )
  const { tokenFormat, sendToken } = signOn
  return { claims: { login, spn, tokenFormat, sendToken } }
}

/** A person's own password goes before one that a group shares. */
async function toPasswordFacts(
  signOn: PasswordSignOn,
  { id, user, groupIds }: Person,
  { db, compiled }: FactsContext,
): Promise<SignOnFacts> {
  const { application } = compiled
  const found = await findUsableCredential(db, application, { id, groupIds })
  if (found.state !== 'usable')
    throw new IdentityError(
      found.state === 'refused' ? 'CREDENTIAL_REFUSED' : 'CREDENTIAL_MISSING',
      `no password for ${application.name} can be used for ${user.userName}: ${found.state}`,
    )
  const { row, copies } = found
  // The same connector for a credential as long as it is there: it knows whether that has been tried.
  const ordered = copies
    .map((copy) => ({ copy, rank: rankOf(row.id, copy.connectorId) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .slice(0, limitCopies)
    .map(({ copy }) => copy)
  const { kind, signInPage, userField, passwordField } = signOn
  return {
    claims: {
      credential: {
        subject: `${row.subjectKind}:${row.subjectId}`,
        version: row.version,
        sealed: ordered.map(({ sealed }) => sealed),
      },
      ...(kind === 'basic'
        ? {}
        : {
            form: {
              signInPage,
              formAction: formActionOf(signOn),
              startPage: compiled.internalPath,
              userField,
              passwordField,
            },
          }),
    },
    connectorIds: ordered.map(({ connectorId }) => connectorId),
    credential: { id: row.id, version: row.version },
  }
}

/** A token has a limit, and a sealed credential some 500 bytes. */
const limitCopies = 8

function rankOf(credentialId: string, connectorId: string): string {
  return createHash('sha256').update(`${credentialId} ${connectorId}`).digest('hex')
}
