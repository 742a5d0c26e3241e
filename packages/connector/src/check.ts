import { openOrigins } from './connector.ts'
import { parseDestination } from './destination.ts'
import { resolveName } from './dial.ts'
import type { Log } from './log.ts'
import { requestHead } from './origin-check.ts'
import { checkKerberos, type KerberosCheck, type KerberosStep } from './sign-on/kerberos-check.ts'
import { readState } from './state.ts'

/** Says nothing of files that the check has no use for. */
const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }

/**
 * Walks the chain of a sign-on by Kerberos, with the settings of the connector in `stateDir`.
 *
 * @param options.url of the application, to be asked for one page with a token; undefined: it is not asked
 * @throws ConnectorError `NOT_ENROLLED`, `STATE_INVALID`; OriginFailure or the network's error when the application
 *   cannot be asked
 */
export async function* checkKerberosSignOn(
  options: Pick<KerberosCheck, 'spn' | 'user' | 'format'> & {
    stateDir: string
    url?: URL | undefined
    validate?: boolean
  },
): AsyncGenerator<KerberosStep> {
  const { stateDir, url, validate = true, ...check } = options
  const { settings } = readState(stateDir)
  const { origins, certificates } = openOrigins(settings, {
    resolve: resolveName,
    onSocket: () => undefined,
    clock: Date.now,
    log: silent,
  })
  try {
    yield* checkKerberos({
      ...check,
      accounts: settings.kerberos ?? [],
      askOrigin: url
        ? (token) =>
            requestHead(
              origins.find(parseDestination(`${url.origin}`), validate, undefined),
              url.pathname + url.search,
              ['Authorization', `Negotiate ${token}`],
            )
        : undefined,
    })
  } finally {
    origins.close()
    certificates.close()
  }
}
