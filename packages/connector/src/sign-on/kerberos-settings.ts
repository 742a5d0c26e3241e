import { isAbsolute } from 'node:path'
import {
  createDns,
  type DelegationEngine,
  type DirectoryAccount,
  type Dns,
  findPrivilege,
  type KdcAddress,
  Kdcs,
  KerberosEngine,
  KerberosError,
  parsePrincipal,
  readKeytabFile,
} from '@sallyport/kerberos'
import { GssapiEngine } from './gssapi/engine.ts'

/** One account of a realm that the connector asks for tickets by; an entry of `kerberos` in `connector.json`. */
export interface KerberosSettings {
  /** `svc-sallyport@CORP.EXAMPLE`. */
  account: string
  /** Absolute path; nobody but the connector's user may read it. */
  keytab: string
  /** `HOST` or `HOST:PORT` of domain controllers; without them DNS is asked for `_kerberos._tcp` of the realm. */
  kdcs?: readonly string[]
  /** Applications that this account is for, such as `HTTP/*.corp.example`; all of them unless given. */
  servicePrincipalNames?: readonly string[]
  /** Accounts that nobody is ever signed on as, beside those that rule the domain. */
  neverImpersonate?: readonly string[]
  /** `native`, unless given: our own client. `gssapi`: MIT's library, in a process of its own. */
  engine?: KerberosEngineName
}

const engines = ['native', 'gssapi'] as const
export type KerberosEngineName = (typeof engines)[number]

/** One account with what it is for. */
export interface KerberosAccount {
  readonly account: string
  readonly realm: string
  readonly engine: DelegationEngine
  readonly neverImpersonate: ReadonlySet<string>
  serves(spn: string): boolean
}

/** The name servers of this machine. */
export const systemDns: Dns = createDns()

const known = ['account', 'keytab', 'kdcs', 'servicePrincipalNames', 'neverImpersonate', 'engine']
const lists = ['kdcs', 'servicePrincipalNames', 'neverImpersonate']

/** @returns what is wrong with `kerberos` in `connector.json`, each with its path */
export function findKerberosProblems(value: unknown): string[] {
  if (!Array.isArray(value)) return ['kerberos: must be a list of accounts']
  return value.flatMap((entry: unknown, index) => {
    const path = `kerberos[${index}]`
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
      return [`${path}: must be an object with account and keytab`]
    const settings = entry as Record<string, unknown>
    const problems: string[] = []
    const { account, keytab, kdcs, engine = 'native' } = settings
    if (typeof account !== 'string' || !isPrincipal(account))
      problems.push(`${path}.account: must be a name with its realm, such as svc@CORP.EXAMPLE`)
    if (typeof keytab !== 'string' || !isAbsolute(keytab))
      problems.push(`${path}.keytab: must be the absolute path of a keytab`)
    for (const list of lists)
      if (settings[list] !== undefined && !isTexts(settings[list]))
        problems.push(`${path}.${list}: must be a list of texts`)
    if (isTexts(kdcs))
      for (const kdc of kdcs)
        if (!parseKdc(kdc))
          problems.push(`${path}.kdcs: ${JSON.stringify(kdc)} must be HOST or HOST:PORT`)
    if (!engines.includes(engine as KerberosEngineName))
      problems.push(`${path}.engine: must be ${engines.join(' or ')}`)
    for (const key of Object.keys(settings))
      if (!known.includes(key)) problems.push(`${path}.${key}: is unknown`)
    return problems
  })
}

function isPrincipal(account: string): boolean {
  try {
    parsePrincipal(account)
    return true
  } catch (error) {
    if (error instanceof KerberosError) return false
    throw error
  }
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string' && item !== '')
}

/** `HOST` or `HOST:PORT`; undefined when it is neither. */
export function parseKdc(text: string): KdcAddress | undefined {
  const [, host, port = '88'] =
    /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?$/.exec(text) ?? []
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) return undefined
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
}

/** @param settings checked before */
export function openKerberosAccounts(
  settings: readonly KerberosSettings[],
  onWarning: (warning: KerberosError) => void,
): KerberosAccount[] {
  const realms: Record<string, KdcAddress[]> = {}
  for (const { account, kdcs } of settings)
    if (kdcs) realms[parsePrincipal(account).realm] = kdcs.map((kdc) => parseKdc(kdc)!)
  // One for all: what one account finds out about a KDC that is down is of use to the others.
  const kdcs = new Kdcs({ realms, dns: systemDns })
  return settings.map((entry) => {
    const { account, neverImpersonate } = entry
    return {
      account,
      realm: parsePrincipal(account).realm,
      engine: openEngine(entry, { realms, kdcs, onWarning }),
      neverImpersonate: toLowerCaseSet(neverImpersonate),
      serves: toServes(entry),
    }
  })
}

/** @param realms KDCs of those that are not looked up by DNS */
export function openEngine(
  { account, keytab, engine = 'native', neverImpersonate }: KerberosSettings,
  {
    realms,
    kdcs,
    onWarning,
  }: {
    realms: Readonly<Record<string, readonly KdcAddress[]>>
    kdcs: Kdcs
    onWarning?: (warning: KerberosError) => void
  },
): DelegationEngine {
  // Who was asked for by another name is in the list all the same: the directory says who it is.
  const never = toLowerCaseSet(neverImpersonate)
  const findRefusal = (found: DirectoryAccount) =>
    findPrivilege(found) ??
    (never.has(found.name.toLowerCase()) ? 'in "neverImpersonate" of connector.json' : undefined)
  if (engine === 'gssapi') return new GssapiEngine({ account, keytab, realms, findRefusal })
  return new KerberosEngine({
    account,
    readKeytab: () => readKeytabFile(keytab),
    keytabFile: keytab,
    kdcs,
    findRefusal,
    ...(onWarning && { onWarning }),
  })
}

/** Names of people, as `findLocalRefusal` compares them. */
export function toLowerCaseSet(names: readonly string[] = []): Set<string> {
  return new Set(names.map((name) => name.toLowerCase()))
}

/** @returns whether the account is for the application of an SPN */
export function toServes({ servicePrincipalNames }: KerberosSettings): (spn: string) => boolean {
  const patterns = servicePrincipalNames?.map(toPattern)
  return (spn) => patterns?.some((pattern) => pattern.test(spn)) ?? true
}

/** `HTTP/*.corp.example`: one label or more in place of the asterisk. */
function toPattern(text: string): RegExp {
  const escaped = text.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace('/*\\.', '/[a-z0-9.-]+\\.')
  return new RegExp(`^${escaped}$`, 'i')
}
