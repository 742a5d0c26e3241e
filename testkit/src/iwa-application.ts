import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { ActiveDirectory } from './active-directory.ts'
import { findFreePort } from './ports.ts'
import type { Scope } from './scope.ts'

const modules = '/usr/lib/apache2/modules'

/**
 * Applications with Integrated Windows Authentication: Apache with mod_auth_gssapi, by http and https, one host for each
 * account. The header `X-Remote-User` of an answer says who the application believes to be served.
 *
 * `/` authenticates each request, `/persistent/` the connection (as IIS can), `/public/` nobody.
 */
export class IwaApplication {
  readonly httpPort: number
  readonly httpsPort: number
  /** Of its certificate, which is its own authority. */
  readonly certificate: string
  readonly #dir: string
  #process: ChildProcess | undefined

  private constructor(dir: string, httpPort: number, httpsPort: number) {
    this.#dir = dir
    this.httpPort = httpPort
    this.httpsPort = httpsPort
    this.certificate = readFileSync(join(dir, 'server.pem'), 'utf8')
  }

  /** @param hosts names, whose SPNs are `HTTP/` and the name */
  static async start(
    scope: Scope,
    directory: ActiveDirectory,
    hosts: readonly string[],
  ): Promise<IwaApplication> {
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-iwa-'))
    // Its workers are another user.
    chmodSync(dir, 0o755)
    makeCertificate(dir, hosts)
    const [httpPort, httpsPort] = [await findFreePort(), await findFreePort()]
    const application = new IwaApplication(dir, httpPort, httpsPort)
    scope.after(async () => {
      await application.stop()
      rmSync(dir, { recursive: true })
    })
    await writeKeytabs(dir, directory, hosts)
    for (const folder of ['htdocs/persistent', 'htdocs/public']) {
      mkdirSync(join(dir, folder), { recursive: true })
    }
    for (const folder of ['htdocs', 'htdocs/persistent', 'htdocs/public']) {
      writeFileSync(join(dir, folder, 'index.txt'), 'Intranet\n')
    }
    mkdirSync(join(dir, 'rcache'), { mode: 0o700 })
    chownToWorkers(join(dir, 'rcache'))
    writeFileSync(join(dir, 'krb5.conf'), readFileSync(directory.environment.KRB5_CONFIG))
    writeFileSync(join(dir, 'httpd.conf'), toConfiguration(dir, httpPort, httpsPort, hosts))
    await application.run()
    return application
  }

  /** Starts again with the keys that the accounts have now, and with no others. */
  async renewKeytabs(directory: ActiveDirectory, hosts: readonly string[]): Promise<void> {
    await this.stop()
    await writeKeytabs(this.#dir, directory, hosts)
    await this.run()
  }

  /** Starts Apache; it answers when this resolves. */
  async run(): Promise<void> {
    const saidBefore = this.log.length
    const args = ['--pdeathsig=TERM', '/usr/sbin/apache2', '-f', join(this.#dir, 'httpd.conf')]
    const child = spawn('setpriv', [...args, '-D', 'FOREGROUND'], {
      stdio: 'ignore',
      env: {
        ...process.env,
        KRB5_CONFIG: join(this.#dir, 'krb5.conf'),
        // Else it would be in /var/tmp.
        KRB5RCACHENAME: `file2:${join(this.#dir, 'rcache/httpd')}`,
      },
    })
    this.#process = child
    // Written once it listens.
    while (!this.log.includes('resuming normal operations', saidBefore)) {
      if (child.exitCode !== null) throw new Error(`apache2 ended: ${this.log}`)
      await setTimeout(20)
    }
  }

  /** What Apache and mod_auth_gssapi say. */
  get log(): string {
    try {
      return readFileSync(join(this.#dir, 'error.log'), 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
      throw error
    }
  }

  async stop(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    await exited
  }
}

async function writeKeytabs(
  dir: string,
  directory: ActiveDirectory,
  hosts: readonly string[],
): Promise<void> {
  for (const host of hosts) {
    const keytab = join(dir, `${host}.keytab`)
    await directory.keytab(`HTTP/${host}`, keytab, true)
    chownToWorkers(keytab)
  }
}

function chownToWorkers(path: string): void {
  const [uid, gid] = ['-u', '-g'].map((of) =>
    Number(execFileSync('id', [of, 'www-data'], { encoding: 'utf8' })),
  )
  chownSync(path, uid!, gid!)
}

function makeCertificate(dir: string, hosts: readonly string[]): void {
  const names = hosts.map((host) => `DNS:${host}`).join(',')
  const [key, pem] = ['server.key', 'server.pem'].map((name) => join(dir, name))
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const subject = ['-sha256', '-days', '30', '-subj', `/CN=${hosts[0]}`]
  const extension = ['-addext', `subjectAltName=${names}`]
  execFileSync('openssl', [...args, ...subject, ...extension, '-keyout', key!, '-out', pem!], {
    stdio: 'ignore',
  })
}

function toConfiguration(
  dir: string,
  httpPort: number,
  httpsPort: number,
  hosts: readonly string[],
): string {
  const load = [
    'mpm_event',
    'authn_core',
    'authz_core',
    'authz_user',
    'auth_gssapi',
    'mime',
    'dir',
    'headers',
    'socache_shmcb',
    'ssl',
  ]
  // mod_auth_gssapi does not take over settings of an outer section: all of them are repeated.
  const negotiate = (host: string) => `AuthType GSSAPI
AuthName ${host}
GssapiSSLonly Off
GssapiAllowedMech krb5
GssapiCredStore keytab:${dir}/${host}.keytab
GssapiLocalName Off
Require valid-user`
  const virtual = (host: string, port: number, tls: string) => `<VirtualHost 127.0.0.1:${port}>
ServerName ${host}
${tls}
<Location />
${negotiate(host)}
</Location>
<Location /persistent/>
${negotiate(host)}
GssapiConnectionBound On
GssapiSignalPersistentAuth On
</Location>
<Location /public/>
AuthType None
Require all granted
</Location>
</VirtualHost>`
  const tls = `SSLEngine on\nSSLCertificateFile ${dir}/server.pem\nSSLCertificateKeyFile ${dir}/server.key`
  return `ServerRoot ${dir}
ServerName ${hosts[0]}
Listen 127.0.0.1:${httpPort}
Listen 127.0.0.1:${httpsPort}
PidFile ${dir}/pid
DefaultRuntimeDir ${dir}
Mutex pthread default
ErrorLog ${dir}/error.log
LogLevel notice auth_gssapi:debug
${load.map((name) => `LoadModule ${name}_module ${modules}/mod_${name}.so`).join('\n')}
TypesConfig /dev/null
AddType text/plain .txt
User www-data
Group www-data
StartServers 1
ServerLimit 2
ThreadsPerChild 16
MinSpareThreads 4
MaxSpareThreads 32
MaxRequestWorkers 32
KeepAlive On
KeepAliveTimeout 15
MaxKeepAliveRequests 0
SSLSessionCache none
DocumentRoot ${dir}/htdocs
DirectoryIndex index.txt
<Directory ${dir}/htdocs>
Require all granted
</Directory>
Header always set X-Remote-User "expr=%{REMOTE_USER}"
${hosts.flatMap((host) => [virtual(host, httpPort, ''), virtual(host, httpsPort, tls)]).join('\n')}
`
}
