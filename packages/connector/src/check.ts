import { openOrigins } from './connector.ts'
import { parseDestination } from './destination.ts'
import { resolveName } from './dial.ts'
import { ConnectorError } from './errors.ts'
import { OriginFailure } from './failure.ts'
import { openIdentity } from './identity.ts'
import type { Log } from './log.ts'
import { requestHead } from './origin-check.ts'
import { readText } from './service-request.ts'
import { Assertions } from './sign-on/assertion.ts'
import { checkKerberos, type KerberosCheck, type KerberosStep } from './sign-on/kerberos-check.ts'
import { readKerberosFacts } from './sign-on/kerberos-facts.ts'
import { type ConnectorState, readState } from './state.ts'

/** A sign-on by Kerberos, as somebody says it. */
export interface KerberosCheckTarget extends Pick<KerberosCheck, 'spn' | 'user' | 'format'> {
  /** Of the application, to be asked for one page with a token; undefined: it is not asked. */
  url?: URL | undefined
  /** Whether the certificate of the application has to be good. */
  validate?: boolean | undefined
  /** The application is shown the client certificate that is configured for this ID; undefined: none. */
  applicationId?: string | undefined
}

/** A sign-on by Kerberos, as the service has it configured. */
export interface ConfiguredCheck {
  /** Name of the application. */
  application: string
  /** Name of the person, as people type it to sign in. */
  userName: string
  /** What fills the wildcard of the internal URL. */
  label?: string | undefined
}

/** Says nothing of certificates that the check has no use for; one that it needs is a step that fails. */
const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }

/**
 * Walks the chain of a sign-on by Kerberos, with the settings of the connector in `stateDir`.
 *
 * @param check what to try, or which application and person: then the service says what it would tell the connector of them
 * @throws ConnectorError `NOT_ENROLLED`, `STATE_INVALID`; OriginFailure or the network's error when the application
 *   cannot be asked
 */
export async function* checkKerberosSignOn(
  stateDir: string,
  check: KerberosCheckTarget | ConfiguredCheck,
  log: Log,
): AsyncGenerator<KerberosStep> {
  const state = readState(stateDir)
  if ('spn' in check) {
    yield* walk(state, check)
    return
  }
  let target: KerberosCheckTarget
  try {
    target = await askService(state, stateDir, check, log)
  } catch (error) {
    yield toFailedStep(error)
    return
  }
  const { user, spn, url } = target
  const realm = user.realm === undefined ? '' : ` of ${user.realm}`
  yield {
    step: 'service',
    ok: true,
    message: `${check.application} is ${spn} at ${url}; ${check.userName} is the ${user.type === 'enterprise' ? 'userPrincipalName' : 'sAMAccountName'} ${user.name}${realm}`,
  }
  yield* walk(state, target)
}

async function* walk(
  { settings }: ConnectorState,
  { url, validate = true, applicationId, ...check }: KerberosCheckTarget,
): AsyncGenerator<KerberosStep> {
  const { origins, certificates } = openOrigins(settings, {
    resolve: resolveName,
    clock: Date.now,
    log: silent,
  })
  try {
    yield* checkKerberos({
      ...check,
      accounts: settings.kerberos ?? [],
      askOrigin: url
        ? (makeToken) =>
            requestHead(
              origins.find(parseDestination(`${url.origin}`), validate, applicationId),
              url.pathname + url.search,
              async (binding) => ['Authorization', `Negotiate ${await makeToken(binding)}`],
            )
        : undefined,
    })
  } finally {
    origins.close()
    certificates.close()
  }
}

async function askService(
  state: ConnectorState,
  stateDir: string,
  { application, userName, label }: ConfiguredCheck,
  log: Log,
): Promise<KerberosCheckTarget> {
  const identity = openIdentity({ state, stateDir, log })
  const user = userName.trim().toLowerCase()
  const answer = await identity.ask('/v1/sign-on-check', {
    application,
    user,
    ...(label === undefined ? {} : { label }),
  })
  const assertions = new Assertions({
    caPem: () => identity.caPem,
    serviceHost: new URL(state.settings.service).hostname,
    connectorId: state.settings.connectorId,
    clock: Date.now,
  })
  const token = readText(answer, 'token')
  const { claims, origin, path, validate } = assertions.readCheck(token, { application, user })
  const facts = readKerberosFacts(claims)
  return {
    spn: facts.spn,
    user: facts.user,
    format: facts.format,
    // Never `new URL(path, origin)`: a path that begins with two slashes would name another host.
    url: new URL(`${origin}${path}`),
    validate,
    applicationId: typeof claims.app === 'string' ? claims.app : undefined,
  }
}

const withoutService =
  'without the service, name all of it yourself: --spn, --user and --url instead of --app'

/** @throws what is none of the service's, the network's or the assertion's failures */
function toFailedStep(error: unknown): KerberosStep {
  if (error instanceof ConnectorError)
    return {
      step: 'service',
      ok: false,
      code: error.serviceCode ?? error.code,
      message: error.message,
      ...(error.code === 'SERVICE_REFUSED' ? {} : { remedy: withoutService }),
    }
  if (error instanceof OriginFailure)
    return {
      step: 'service',
      ok: false,
      code: 'ASSERTION_REFUSED',
      message: error.message.replace(/^ASSERTION_REFUSED: /, ''),
      remedy:
        'check that the clocks of service and connector agree, and that the connector was enrolled with this service',
    }
  throw error
}
