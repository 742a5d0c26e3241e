import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { findFreePort } from './ports.ts'
import type { Scope } from './scope.ts'

export interface MitRealmOptions {
  /** As in kdc.conf, the realm's favourite first. */
  enctypes?: string
  /** Takes no encrypted timestamp: clients must armor what they say (FAST, RFC 6113). */
  armored?: boolean
}

/**
 * A realm of MIT Kerberos on a free port: another KDC than that of Active Directory, with the encryption types of
 * RFC 8009, which Active Directory has not.
 */
export class MitRealm {
  readonly realm: string
  readonly port: number
  readonly dir: string
  #process: ChildProcess | undefined

  private constructor(realm: string, port: number, dir: string) {
    this.realm = realm
    this.port = port
    this.dir = dir
  }

  static async start(
    scope: Scope,
    realm: string,
    { enctypes = 'aes256-cts-hmac-sha384-192', armored = false }: MitRealmOptions = {},
  ): Promise<MitRealm> {
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-mit-'))
    const port = await findFreePort()
    const mit = new MitRealm(realm, port, dir)
    scope.after(async () => {
      await mit.stop()
      rmSync(dir, { recursive: true })
    })
    const lines = {
      database_name: join(dir, 'principal'),
      key_stash_file: join(dir, 'stash'),
      acl_file: join(dir, 'acl'),
      kdc_listen: '""',
      kdc_tcp_listen: `127.0.0.1:${port}`,
      supported_enctypes: enctypes
        .split(' ')
        .map((name) => `${name}:normal`)
        .join(' '),
    }
    const text = Object.entries(lines).map(([name, value]) => `    ${name} = ${value}\n`)
    writeFileSync(join(dir, 'kdc.conf'), `[realms]\n  ${realm} = {\n${text.join('')}  }\n`)
    writeFileSync(
      join(dir, 'krb5.conf'),
      `[libdefaults]
  default_realm = ${realm}
  dns_lookup_realm = false
  dns_lookup_kdc = false
  permitted_enctypes = ${enctypes}
[realms]
  ${realm} = {
    kdc = 127.0.0.1:${port}
  }
${armored ? '[plugins]\n  kdcpreauth = {\n    disable = encrypted_timestamp\n  }\n' : ''}[logging]
  kdc = STDERR
`,
    )
    mit.run('kdb5_util', 'create', '-s', '-P', 'master')
    await mit.#serve()
    return mit
  }

  get kdc(): { host: string; port: number } {
    return { host: '127.0.0.1', port: this.port }
  }

  get krb5Config(): string {
    return join(this.dir, 'krb5.conf')
  }

  /** A command of kadmin, such as `addprinc -pw secret alice`. */
  admin(command: string): void {
    this.run('kadmin.local', '-q', command)
  }

  /** @param password of a new principal; one with the same in two realms joins them */
  addPrincipal(
    name: string,
    { password, flags = '' }: { password?: string; flags?: string } = {},
  ): void {
    const key = password === undefined ? '-randkey' : `-pw ${password}`
    this.admin(`addprinc ${key} ${flags} ${name}`)
  }

  keytab(principal: string): string {
    const file = join(this.dir, `${principal.replaceAll('/', '-')}.keytab`)
    this.admin(`ktadd -norandkey -k ${file} ${principal}`)
    return file
  }

  /** Runs a program of MIT Kerberos to its end. @returns what it printed */
  run(command: string, ...args: string[]): string {
    return execFileSync(command, args, {
      encoding: 'utf8',
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }

  async stop(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    await exited
  }

  get #environment(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      PATH: `${process.env.PATH}:/usr/sbin`,
      KRB5_CONFIG: this.krb5Config,
      KRB5_KDC_PROFILE: join(this.dir, 'kdc.conf'),
      KRB5RCACHENAME: 'none:',
    }
  }

  async #serve(): Promise<void> {
    const args = ['--pdeathsig=KILL', 'krb5kdc', '-n', '-P', join(this.dir, 'pid')]
    const child = spawn('setpriv', args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: this.#environment,
    })
    this.#process = child
    let said = ''
    await new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stderr }).on('line', (line) => {
        said += `${line}\n`
        if (line.includes('commencing operation')) resolve()
      })
      child.once('exit', (code) => reject(new Error(`krb5kdc ended with ${code}: ${said}`)))
    })
  }
}
