import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ActiveDirectory } from './active-directory.ts'
import { Apache, chownToWorkers } from './apache.ts'
import { pageModules, writeApplicationPage } from './application-page.ts'
import { findFreePort } from './ports.ts'
import type { Scope } from './scope.ts'

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
  readonly #apache: Apache

  private constructor(apache: Apache, httpPort: number, httpsPort: number) {
    this.#apache = apache
    this.httpPort = httpPort
    this.httpsPort = httpsPort
    this.certificate = readFileSync(join(apache.dir, 'server.pem'), 'utf8')
  }

  /** @param hosts names, whose SPNs are `HTTP/` and the name */
  static async start(
    scope: Scope,
    directory: ActiveDirectory,
    hosts: readonly string[],
  ): Promise<IwaApplication> {
    const apache = Apache.create(scope, 'iwa', (dir) => ({
      KRB5_CONFIG: join(dir, 'krb5.conf'),
      // Else it would be in /var/tmp.
      KRB5RCACHENAME: `file2:${join(dir, 'rcache/httpd')}`,
    }))
    const { dir } = apache
    makeCertificate(dir, hosts)
    const [httpPort, httpsPort] = [await findFreePort(), await findFreePort()]
    const application = new IwaApplication(apache, httpPort, httpsPort)
    await writeKeytabs(dir, directory, hosts)
    const site = writeApplicationPage(dir, timeSheets, ['persistent', 'public'])
    mkdirSync(join(dir, 'rcache'), { mode: 0o700 })
    chownToWorkers(join(dir, 'rcache'))
    writeFileSync(join(dir, 'krb5.conf'), readFileSync(directory.environment.KRB5_CONFIG))
    apache.configure({
      modules: ['authz_user', 'auth_gssapi', ...pageModules, 'headers', 'socache_shmcb', 'ssl'],
      logLevel: 'notice auth_gssapi:debug',
      lines: toLines(dir, site, httpPort, httpsPort, hosts),
    })
    await application.run()
    return application
  }

  /** Starts again with the keys that the accounts have now, and with no others. */
  async renewKeytabs(directory: ActiveDirectory, hosts: readonly string[]): Promise<void> {
    await this.stop()
    await writeKeytabs(this.#apache.dir, directory, hosts)
    await this.run()
  }

  /** Starts Apache; it answers when this resolves. */
  run(): Promise<void> {
    return this.#apache.run()
  }

  /** What Apache and mod_auth_gssapi say. */
  get log(): string {
    return this.#apache.log
  }

  stop(): Promise<void> {
    return this.#apache.stop()
  }
}

const timeSheets = {
  title: 'Time sheets',
  heading: 'Week of',
  table: [
    ['Day', 'From', 'To', 'Hours'],
    ['Monday', '08:30', '17:00', '8.0'],
    ['Tuesday', '08:45', '17:15', '8.0'],
    ['Wednesday', '08:30', '16:30', '7.5'],
  ],
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

function toLines(
  dir: string,
  site: string,
  httpPort: number,
  httpsPort: number,
  hosts: readonly string[],
): string {
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
  return `ServerName ${hosts[0]}
Listen 127.0.0.1:${httpPort}
Listen 127.0.0.1:${httpsPort}
${site}
KeepAlive On
KeepAliveTimeout 15
MaxKeepAliveRequests 0
SSLSessionCache none
<Directory ${dir}/htdocs>
Require all granted
</Directory>
Header always set X-Remote-User "expr=%{REMOTE_USER}"
${hosts.flatMap((host) => [virtual(host, httpPort, ''), virtual(host, httpsPort, tls)]).join('\n')}`
}
