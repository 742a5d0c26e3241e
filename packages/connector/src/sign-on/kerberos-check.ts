import { connect } from 'node:net'
import type { ResponseHead } from '@sallyport/http1'
import {
  type Authorization,
  discoverKdcs,
  type KdcAddress,
  Kdcs,
  KerberosError,
  keysOf,
  parsePrincipal,
  readKeytabFile,
  type TokenFormat,
  type UserName,
} from '@sallyport/kerberos'
import { toOriginFailure } from '../failure.ts'
import { findLocalRefusal } from './kerberos-facts.ts'
import {
  type KerberosSettings,
  openEngine,
  parseKdc,
  systemDns,
  toLowerCaseSet,
  toServes,
} from './kerberos-settings.ts'
import { findReply } from './negotiate.ts'

/** One step of the chain that a sign-on by Kerberos is made of. */
export interface KerberosStep {
  step: 'service' | 'account' | 'keytab' | 'kdc' | 'clock' | 'user' | 'application' | 'origin'
  ok: boolean
  /** What was found, or what failed. */
  message: string
  /** Stable; of a failure. */
  code?: string
  /** What to do about a failure. */
  remedy?: string
}

/** @returns base64 */
export type MakeToken = (channelBinding: Buffer | undefined) => Promise<string>

export interface KerberosCheck {
  /** `kerberos` of `connector.json`. */
  accounts: readonly KerberosSettings[]
  spn: string
  user: UserName
  format: TokenFormat
  /** Sends one request with a token that is made for its connection; undefined: the application is not asked. */
  askOrigin: ((makeToken: MakeToken) => Promise<ResponseHead>) | undefined
}

const connectMs = 3_000

/**
 * Walks the chain step by step, as a request would, and ends with the first step that fails.
 *
 * @returns each step as it is done
 */
export async function* checkKerberos(check: KerberosCheck): AsyncGenerator<KerberosStep> {
  const { accounts, spn, user, format } = check
  const settings = accounts.find((account) => toServes(account)(spn))
  if (!settings) {
    yield {
      step: 'account',
      ok: false,
      code: 'KERBEROS_NOT_CONFIGURED',
      message: `no account in "kerberos" of connector.json is for ${spn}`,
      remedy: 'add one, with its keytab, or add the SPN to its servicePrincipalNames',
    }
    return
  }
  const { account, keytab } = settings
  yield { step: 'account', ok: true, message: `${account} is for ${spn}` }
  try {
    const principal = parsePrincipal(account)
    const keys = keysOf(await readKeytabFile(keytab), principal, keytab)
    yield { step: 'keytab', ok: true, message: `${keytab} has ${keys.length} keys of ${account}` }
    const found = settings.kdcs
      ? settings.kdcs.map((text) => parseKdc(text)!)
      : await discoverKdcs(systemDns, principal.realm, Math.random)
    const reached = await Promise.all(found.map(reach))
    const lines = found.map(
      ({ host, port }, index) => `${host}:${port} ${reached[index] ?? 'answers'}`,
    )
    if (reached.every((reason) => reason !== undefined)) {
      yield {
        step: 'kdc',
        ok: false,
        code: 'KERBEROS_KDC_UNREACHABLE',
        message: `no KDC of ${principal.realm} answers: ${lines.join('; ')}`,
        remedy:
          'open TCP port 88 from the connector to the domain controllers, and check that they run',
      }
      return
    }
    yield { step: 'kdc', ok: true, message: lines.join('; ') }
    const realms = { [principal.realm]: found }
    const engine = openEngine(settings, { realms, kdcs: new Kdcs({ realms, dns: systemDns }) })
    try {
      const { kdcOffsetMs } = await engine.checkAccount()
      yield {
        step: 'clock',
        ok: true,
        message: `signed in as ${account}${kdcOffsetMs === undefined ? ', by the gssapi engine' : `; the KDC's clock is ${describeOffset(kdcOffsetMs)}`}`,
      }
      const refusal = findLocalRefusal(user, toLowerCaseSet(settings.neverImpersonate))
      if (refusal !== undefined) {
        yield {
          step: 'user',
          ok: false,
          code: 'KERBEROS_USER_REFUSED',
          message: refusal,
          remedy: 'sign on as somebody else, or take the name out of the list',
        }
        return
      }
      const authorization = await engine.authorize({ user, spn, format })
      yield { step: 'user', ok: true, message: `${user.name} is ${authorization.principal}` }
      yield { step: 'application', ok: true, message: `a ticket for ${spn} was given` }
      authorization.release?.()
      if (check.askOrigin)
        yield await askOrigin(check.askOrigin, (channelBinding) =>
          engine.authorize({ user, spn, format, channelBinding }),
        )
    } finally {
      engine.close()
    }
  } catch (error) {
    if (!(error instanceof KerberosError)) throw error
    yield toFailure(error)
  }
}

async function askOrigin(
  ask: NonNullable<KerberosCheck['askOrigin']>,
  authorize: (channelBinding: Buffer | undefined) => Promise<Authorization>,
): Promise<KerberosStep> {
  let head: ResponseHead
  let authorization: Authorization | undefined
  try {
    head = await ask(async (channelBinding) => {
      authorization = await authorize(channelBinding)
      return authorization.token.toString('base64')
    })
  } catch (error) {
    if (error instanceof KerberosError) throw error
    const { message } = toOriginFailure(error)
    return {
      step: 'origin',
      ok: false,
      code: 'ORIGIN_UNREACHABLE',
      message: `the application could not be asked: ${message}`,
      remedy: 'check its URL, and that "allow" of connector.json lets the connector reach it',
    }
  }
  const text = findReply(head.fields)
  const reply = text ? Buffer.from(text, 'base64') : undefined
  const step = 'origin' as const
  if (head.statusCode === 401 && text === '')
    return {
      step,
      ok: false,
      code: 'KERBEROS_APPLICATION_REFUSED',
      message: 'the application answered 401 to the token',
      remedy:
        'check that the SPN belongs to the account that runs the application, and no other; on IIS, kernel-mode authentication and useAppPoolCredentials',
    }
  // Throws what the application says was wrong.
  if (reply) await authorization!.verifyReply(reply)
  return {
    step,
    ok: true,
    message: `the application answered ${head.statusCode}${reply ? ', and proved that it has the key of the SPN' : ''}`,
  }
}

const stepOfStage = {
  local: 'user',
  as: 'clock',
  tgs: 'user',
  s4u2self: 'user',
  s4u2proxy: 'application',
  ap: 'origin',
} as const

function toFailure(error: KerberosError): KerberosStep {
  const { stage = 'local' } = error.facts
  const step = /^KERBEROS_(?:KEYTAB|REALM)/.test(error.code)
    ? error.code.startsWith('KERBEROS_KEYTAB')
      ? 'keytab'
      : 'kdc'
    : stepOfStage[stage]
  return { step, ok: false, code: error.code, message: error.message, remedy: error.remedy }
}

function describeOffset(offsetMs: number): string {
  const seconds = Math.round(Math.abs(offsetMs) / 1000)
  if (seconds === 0) return 'the same as ours'
  return `${seconds} s ${offsetMs > 0 ? 'ahead of' : 'behind'} ours`
}

/** @returns undefined when it answers, else why not */
function reach({ host, port }: KdcAddress): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const end = (reason?: string) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(reason)
    }
    const timer = setTimeout(() => end(`no answer in ${connectMs} ms`), connectMs)
    socket.once('connect', () => end())
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message))
  })
}
