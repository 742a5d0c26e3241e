import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { LineProcess } from './line-process.ts'
import { findFreeLoopback } from './loopback.ts'
import type { Scope } from './scope.ts'

/** Attributes of Active Directory by their LDAP names, with `_` for `-`. */
export type Attributes = Record<string, string | readonly string[]>

/** Bits of userAccountControl (MS-ADTS section 2.2.16). */
export const AccountFlag = {
  DISABLED: 0x2,
  PASSWORD_NEVER_EXPIRES: 0x10000,
  NOT_DELEGATED: 0x100000,
  NO_AUTH_DATA_REQUIRED: 0x2000000,
  TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION: 0x1000000,
} as const

const ports = [53, 88, 389, 464]
const script = join(import.meta.dirname, 'active-directory.py')

/**
 * A domain controller of an Active Directory of its own: Samba in a temporary folder, on a loopback address whose fixed
 * ports are free. Needs root. Nothing of the machine's own configuration is read or changed. The first of a run of tests
 * provisions the domain, the others copy it.
 */
export class ActiveDirectory {
  readonly realm: string
  readonly domain: string
  readonly ip: string
  readonly dir: string
  readonly password = 'Passw0rd!Fixture'
  readonly #database: LineProcess
  #samba: ChildProcess | undefined
  #keytabs = 0

  private constructor(domain: string, ip: string, dir: string) {
    this.domain = domain
    this.realm = domain.toUpperCase()
    this.ip = ip
    this.dir = dir
    const netbios = this.realm.split('.')[0]!
    const setting = {
      cache: process.env.SALLYPORT_TEST_CACHE ?? join(dir, 'cache'),
      dir: join(dir, 'samba'),
      conf: toSmbConf(netbios, this.realm, ip),
      domain,
      realm: this.realm,
      netbios,
      password: this.password,
      ip,
    }
    // Samba's modules are those of Debian's own interpreter.
    const args = [script, JSON.stringify(setting)]
    this.#database = new LineProcess('/usr/bin/python3', args, this.environment)
  }

  static async start(scope: Scope, { domain = 'corp.example' } = {}): Promise<ActiveDirectory> {
    if (process.getuid?.() !== 0) {
      throw new Error('a domain controller of Samba has fixed ports below 1024: run as root')
    }
    const ip = await findFreeLoopback(ports)
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-ad-'))
    mkdirSync(join(dir, 'samba/run'), { recursive: true })
    writeFileSync(join(dir, 'krb5.conf'), toKrb5Conf(domain.toUpperCase(), ip))
    const directory = new ActiveDirectory(domain, ip, dir)
    scope.after(async () => {
      await directory.stopKdc('SIGKILL')
      await directory.#database.close()
      rmSync(dir, { recursive: true })
    })
    await directory.#database.answer()
    // The copy has the address of the first.
    await directory.address('dc1', ip)
    await directory.startKdc()
    return directory
  }

  get kdc(): { host: string; port: number } {
    return { host: this.ip, port: 88 }
  }

  /** For programs that use MIT's library, and for Samba. */
  get environment(): { KRB5_CONFIG: string } {
    return { KRB5_CONFIG: join(this.dir, 'krb5.conf') }
  }

  /** KDC, LDAP and DNS, unless they run already; they answer when this resolves. */
  async startKdc(): Promise<void> {
    if (this.#samba) return
    const conf = join(this.dir, 'samba/smb.conf')
    const samba = ['samba', '-F', '--no-process-group', '-M', 'single', '-s', conf]
    const child = spawn('setpriv', ['--pdeathsig=TERM', ...samba], {
      stdio: ['ignore', 'ignore', 'ignore'],
      env: { ...process.env, ...this.environment },
    })
    this.#samba = child
    // Samba does not say when it is ready: its last port answering does.
    for (const port of ports) {
      while (!(await answers(this.ip, port))) {
        if (child.exitCode !== null || child.signalCode !== null) {
          const log = join(this.dir, 'samba/samba.log')
          const said = existsSync(log) ? readFileSync(log, 'utf8').slice(-2000) : 'nothing'
          throw new Error(`samba ended with ${child.exitCode ?? child.signalCode}, saying ${said}`)
        }
        await setTimeout(20)
      }
    }
  }

  async stopKdc(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.#samba
    this.#samba = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }

  /** @param options attributes, and `flags` to set in userAccountControl; a null userPrincipalName is none */
  async user(
    sam: string,
    {
      flags = 0,
      groups = [],
      ...attributes
    }: { flags?: number; groups?: string[]; [name: string]: unknown } = {},
  ): Promise<void> {
    await this.#database.ask({ do: 'user', sam, flagsSet: flags, groups, ...attributes })
  }

  /** A service account with AES keys. */
  async service(
    sam: string,
    {
      spns = [],
      delegateTo = [],
      ...rest
    }: {
      spns?: string[]
      delegateTo?: string[]
      flags?: number
      msDS_SupportedEncryptionTypes?: string
    } = {},
  ): Promise<void> {
    await this.user(sam, {
      msDS_SupportedEncryptionTypes: '24',
      ...(spns.length > 0 && { servicePrincipalName: spns }),
      ...(delegateTo.length > 0 && { msDS_AllowedToDelegateTo: delegateTo }),
      ...rest,
    })
    // The keys of a password are made when it is set.
    await this.setPassword(sam, this.password)
  }

  async change(sam: string, attributes: Attributes): Promise<void> {
    await this.#database.ask({ do: 'change', sam, ...attributes })
  }

  async remove(sam: string): Promise<void> {
    await this.#database.ask({ do: 'remove', sam })
  }

  async setFlags(sam: string, flags: { set?: number; clear?: number }): Promise<void> {
    await this.#database.ask({ do: 'flags', sam, ...flags })
  }

  async setPassword(sam: string, value: string): Promise<void> {
    await this.#database.ask({ do: 'password', sam, value })
  }

  /** Resource-based constrained delegation: `service` lets `sam` of this or another domain act on behalf of others. */
  async allowToActFor(service: string, sam: string, domain: ActiveDirectory = this): Promise<void> {
    const { sid } = await domain.#database.ask<{ sid: string }>({ do: 'sidOf', sam })
    await this.#database.ask({ do: 'allowToActFor', service, sid })
  }

  /**
   * A trust between two domains, in both directions. Each has to know the other's address: the KDC of one does not ask
   * that of the other, it sends the client there.
   */
  async trust(other: ActiveDirectory): Promise<void> {
    const password = 'Tru5t!between-two-domains'
    for (const [here, there] of [
      [this, other],
      [other, this],
    ] as const) {
      const { sid } = await there.#database.ask<{ sid: string }>({ do: 'sid' })
      const netbios = there.realm.split('.')[0]!
      await here.#database.ask({ do: 'trust', domain: there.domain, netbios, sid, password })
    }
  }

  /** Attributes of the domain itself, such as `lockoutThreshold`. */
  async policy(attributes: Attributes): Promise<void> {
    await this.#database.ask({ do: 'policy', ...attributes })
  }

  /** An A record in the domain's own DNS. */
  async address(host: string, ip: string): Promise<void> {
    await this.#database.ask({ do: 'address', host, ip })
  }

  /** @param onlyCurrent without the keys of the passwords before @returns path of the keytab */
  async keytab(principal: string, file?: string, onlyCurrent = false): Promise<string> {
    this.#keytabs += 1
    const path = file ?? join(this.dir, `${this.#keytabs}.keytab`)
    await this.#database.ask({ do: 'keytab', principal, file: path, only_current: onlyCurrent })
    return path
  }

  /** Runs a program of MIT Kerberos to its end. @returns what it printed @throws with what it said */
  run(command: string, ...args: string[]): string {
    return execFileSync(command, args, {
      encoding: 'utf8',
      env: { ...process.env, ...this.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }
}

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const end = (result: boolean) => {
      socket.destroy()
      resolve(result)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
  })
}

/** `@dir@` stands for its folder. */
function toSmbConf(netbios: string, realm: string, ip: string): string {
  const global = {
    'netbios name': 'DC1',
    workgroup: netbios,
    realm,
    'server role': 'active directory domain controller',
    'server services': 'ldap, cldap, kdc, dns',
    'allow dns updates': 'disabled',
    'dns forwarder': '',
    interfaces: `${ip}/8`,
    'bind interfaces only': 'yes',
    'private dir': '@dir@/private',
    'state directory': '@dir@/state',
    'lock directory': '@dir@/lock',
    'cache directory': '@dir@/cache',
    'pid directory': '@dir@/run',
    'ncalrpc dir': '@dir@/run/ncalrpc',
    'winbindd socket directory': '@dir@/run/winbindd',
    'ntp signd socket directory': '@dir@/run/ntp_signd',
    'binddns dir': '@dir@/bind-dns',
    'log file': '@dir@/samba.log',
    'load printers': 'no',
    'disable spoolss': 'yes',
    'tls enabled': 'no',
  }
  const shares = {
    sysvol: '@dir@/state/sysvol',
    netlogon: `@dir@/state/sysvol/${realm.toLowerCase()}/scripts`,
  }
  return [
    '[global]',
    ...Object.entries(global).map(([name, value]) => `\t${name} = ${value}`),
    ...Object.entries(shares).map(
      ([name, path]) => `[${name}]\n\tpath = ${path}\n\tread only = no`,
    ),
    '',
  ].join('\n')
}

function toKrb5Conf(realm: string, ip: string): string {
  return `[libdefaults]
  default_realm = ${realm}
  dns_lookup_realm = false
  dns_lookup_kdc = false
  dns_canonicalize_hostname = false
  rdns = false
  forwardable = true
  ignore_acceptor_hostname = true
  default_ccache_name = MEMORY:unused
[realms]
  ${realm} = {
    kdc = ${ip}:88
  }
[domain_realm]
  .${realm.toLowerCase()} = ${realm}
`
}
