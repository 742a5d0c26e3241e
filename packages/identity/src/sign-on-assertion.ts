import { createPrivateKey, sign, X509Certificate } from 'node:crypto'
import {
  type CompiledApplication,
  type KerberosSignOn,
  type SignOnMethod,
  type Snapshot,
  toKerberosLogin,
  toServicePrincipalName,
} from '@sallyport/domain'
import { connectors, type Store, sessions, users } from '@sallyport/store'
import { IdentityError } from './errors.ts'

/** What a connector is told of a person, signed: it believes nobody else. */
export interface SignOnAssertion {
  /** JWS in compact form (RFC 7515 section 7.1), `typ` `sallyport-sign-on+jwt`, ES256, certificate in `x5c`. */
  token: string
  /** Epoch milliseconds. */
  expiresAt: number
}

export interface SignOnRequest {
  sessionId: string
  applicationId: string
  /** What fills the wildcard of the internal URL; undefined when it has none. */
  label: string | undefined
}

const lifetimeMs = 5 * 60_000
/** Connectors have clocks of their own. */
const backdateMs = 60_000

interface Person {
  id: string
  user: users.User
}

/** What an assertion says beside who and where; the sign-on that the connector does, by method. */
const factsOf: {
  [Method in SignOnMethod]?: (
    signOn: Extract<CompiledApplication['application']['signOn'], { method: Method }>,
    person: Person,
    internalHost: string,
  ) => object
} = { kerberos: toKerberosFacts }

/** Makes sign-on assertions, for sessions that stand and applications that their users are assigned to. */
export class SignOnAssertions {
  readonly #store: Store
  readonly #snapshot: () => Snapshot
  readonly #clock: () => number
  readonly #issuer: string
  readonly #readKey: () => Promise<{ keyPem: string; certificatePem: string }>
  #signer: { certificatePem: string; sign: (claims: object) => string } | undefined

  constructor(options: {
    store: Store
    snapshot: () => Snapshot
    clock: () => number
    issuer: string
    /** Key and certificate that connectors know identity by. */
    readKey: () => Promise<{ keyPem: string; certificatePem: string }>
  }) {
    this.#store = options.store
    this.#snapshot = options.snapshot
    this.#clock = options.clock
    this.#issuer = options.issuer
    this.#readKey = options.readKey
  }

  /**
   * Nothing that the caller says is believed but which session and application are meant.
   *
   * @throws IdentityError `SESSION_ENDED`, `SIGN_ON_REFUSED` (the person may not use the application, or it signs on in
   *   another way), `SIGN_ON_NAME_MISSING`
   */
  async make({ sessionId, applicationId, label }: SignOnRequest): Promise<SignOnAssertion> {
    const { db } = this.#store
    const nowAt = this.#clock()
    const session = await sessions.findIdentitySession(db, sessionId, nowAt)
    const user = session && (await users.findUserById(db, session.userId))
    if (!session || !user)
      throw new IdentityError('SESSION_ENDED', 'the session has ended; nobody is signed on by it')
    const compiled = this.#snapshot().findApplicationById(applicationId)
    const principals = [session.userId, ...session.claims.groups.map(({ id }) => id)]
    const mayUse =
      compiled?.application.preAuthentication === 'identity' &&
      (!compiled.application.assignmentRequired ||
        principals.some((id) => compiled.assigned.has(id)))
    if (!mayUse)
      throw new IdentityError(
        'SIGN_ON_REFUSED',
        `the user ${user.userName} may not use the application ${applicationId}`,
      )
    const { application } = compiled
    const internalHost = toInternalHost(compiled, label)
    const toFacts = factsOf[application.signOn.method] as
      | ((signOn: object, person: Person, internalHost: string) => object)
      | undefined
    if (!toFacts)
      throw new IdentityError(
        'SIGN_ON_REFUSED',
        `the connector does not sign on to ${application.name}: its method is ${application.signOn.method}`,
      )
    const facts = toFacts(application.signOn, { id: user.id, user }, internalHost)
    const expiresAt = Math.min(nowAt + lifetimeMs, session.absoluteExpiresAt)
    const signer = await this.#getSigner()
    const token = signer.sign({
      iss: this.#issuer,
      aud: await connectors.listActiveIds(db, application.connectorGroup),
      sub: user.id,
      sid: session.sessionId,
      app: application.id,
      origin: new URL(`${compiled.internalProtocol}//${internalHost}:${compiled.internalPort}`)
        .origin,
      method: application.signOn.method,
      ...facts,
      iat: Math.floor((nowAt - backdateMs) / 1000),
      exp: Math.floor(expiresAt / 1000),
    })
    return { token, expiresAt }
  }

  async #getSigner() {
    const pair = await this.#readKey()
    if (this.#signer?.certificatePem !== pair.certificatePem)
      this.#signer = { certificatePem: pair.certificatePem, sign: createSigner(pair) }
    return this.#signer
  }
}

function createSigner({ keyPem, certificatePem }: { keyPem: string; certificatePem: string }) {
  const key = createPrivateKey(keyPem)
  const header = encode({
    alg: 'ES256',
    typ: 'sallyport-sign-on+jwt',
    x5c: [new X509Certificate(certificatePem).raw.toString('base64')],
  })
  return (claims: object) => {
    const input = `${header}.${encode(claims)}`
    // RFC 7518 section 3.4: R and S side by side, not as DER.
    const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
    return `${input}.${signature.toString('base64url')}`
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/** @throws IdentityError `SIGN_ON_REFUSED` when the label could lead anywhere but to one host below the wildcard */
function toInternalHost({ internalHost }: CompiledApplication, label: string | undefined): string {
  if (!internalHost.startsWith('*.')) return internalHost
  if (label === undefined || !/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(label))
    throw new IdentityError('SIGN_ON_REFUSED', 'the wildcard is filled by no host label')
  return label + internalHost.slice(1)
}

function toKerberosFacts(signOn: KerberosSignOn, { user }: Person, internalHost: string): object {
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
  return { login, spn, tokenFormat, sendToken }
}
