import { isAssigned } from '@sallyport/domain'
import { groups, users } from '@sallyport/store'
import { IdentityError } from './errors.ts'
import {
  backdateMs,
  lifetimeMs,
  type SignOnParts,
  toInternalHost,
  toKerberosFacts,
  toOrigin,
} from './sign-on-assertion.ts'

/** What the administrator of a connector wants to try: the sign-on of one person to one application. */
export interface SignOnCheckRequest {
  connectorId: string
  connectorGroup: string
  /** Name of the application. */
  application: string
  /** User name of the person. */
  user: string
  /** What fills the wildcard of the internal URL; undefined when it has none. */
  label?: string | undefined
}

/**
 * - `APPLICATION_UNKNOWN` there is none of that name
 * - `APPLICATION_OF_ANOTHER_GROUP` other connectors than the one that asks serve it
 * - `APPLICATION_NOT_KERBEROS` it signs on in another way
 * - `HOST_LABEL_INVALID` its internal URL has a wildcard, and what shall fill it was not said, or does not fit
 * - `USER_NOT_ASSIGNED` nobody of that name may use it; whether there is such a person is not said
 * - `USER_NAME_MISSING` what the domain calls the person is not known
 */
export type SignOnCheckRefusal =
  | 'APPLICATION_UNKNOWN'
  | 'APPLICATION_OF_ANOTHER_GROUP'
  | 'APPLICATION_NOT_KERBEROS'
  | 'HOST_LABEL_INVALID'
  | 'USER_NOT_ASSIGNED'
  | 'USER_NAME_MISSING'

export type SignOnCheckAnswer =
  | {
      /** JWS as of a sign-on assertion, with `typ` `sallyport-sign-on-check+jwt`: no request is signed on by it. */
      token: string
      applicationId: string
      userId: string
    }
  /** The message says what to do about it. */
  | { refused: SignOnCheckRefusal; message: string }

/**
 * Tells a connector what a sign-on assertion would say of a person, so that its administrator can try it. It learns nothing
 * that it would not be told with the person's next request: only of applications of its own group, only of people who may
 * use them, and only the name in the domain.
 */
export class SignOnChecks {
  readonly #parts: SignOnParts

  constructor(parts: SignOnParts) {
    this.#parts = parts
  }

  async make(request: SignOnCheckRequest): Promise<SignOnCheckAnswer> {
    const { connectorId, connectorGroup, application: name, label } = request
    const { db, snapshot, clock, issuer, signer } = this.#parts
    const compiled = [...snapshot().applications.values()].find(
      ({ application }) => application.name === name,
    )
    if (!compiled)
      return refused(
        'APPLICATION_UNKNOWN',
        `no application is called ${name}; see there: sallyport app list`,
      )
    const { application } = compiled
    if (application.connectorGroup !== connectorGroup)
      return refused(
        'APPLICATION_OF_ANOTHER_GROUP',
        `${name} is served by connectors of another group than ${connectorGroup}; run the check on one of those, or move it: sallyport app update ${name} connectorGroup=${connectorGroup}`,
      )
    const { signOn } = application
    if (signOn.method !== 'kerberos')
      return refused(
        'APPLICATION_NOT_KERBEROS',
        `${name} signs on by the method ${signOn.method}; choose Kerberos first, by singleSignOnMode onPremisesKerberos in a file: sallyport apply`,
      )
    const userName = users.toUserName(request.user)
    const user = await users.findUserByName(db, userName)
    const memberships = user?.enabled ? await groups.transitiveGroups(db, user.id) : []
    if (!user?.enabled || !isAssigned(compiled, [user.id, ...memberships.map((group) => group.id)]))
      return refused(
        'USER_NOT_ASSIGNED',
        `no enabled user ${userName} is assigned to ${name}; assign one: sallyport app assign ${name} --user ${userName}`,
      )
    try {
      const internalHost = toInternalHost(compiled, label)
      const { claims } = toKerberosFacts(signOn, { user }, { internalHost })
      const nowAt = clock()
      const token = await signer.sign('sallyport-sign-on-check+jwt', {
        iss: issuer,
        aud: [connectorId],
        sub: user.id,
        app: application.id,
        origin: toOrigin(compiled, internalHost),
        method: 'kerberos',
        ...claims,
        // What was asked: another question's answer is noticed.
        application: name,
        user: userName,
        path: compiled.internalPath,
        validate: application.validateBackendCertificate,
        iat: Math.floor((nowAt - backdateMs) / 1000),
        exp: Math.floor((nowAt + lifetimeMs) / 1000),
      })
      return { token, applicationId: application.id, userId: user.id }
    } catch (error) {
      if (!(error instanceof IdentityError)) throw error
      if (error.code === 'SIGN_ON_NAME_MISSING') return refused('USER_NAME_MISSING', error.message)
      return refused(
        'HOST_LABEL_INVALID',
        `the internal URL of ${name} has a wildcard; say with --label what stands in its place: ${error.message}`,
      )
    }
  }
}

function refused(code: SignOnCheckRefusal, message: string): SignOnCheckAnswer {
  return { refused: code, message }
}
